"""The images of a training run, and the result of fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.records.evaluation import EvalReport
from wideresnet.records.images import Failure, Labels
from wideresnet.records.skipped import Skipped

FinetuneMode = Literal["probe", "full"]


@dataclass(frozen=True)
class RecipeInfo:
    """A recipe of this package; ``top1`` is its measured accuracy, if there is one."""

    name: str
    architecture: str
    data: str
    epochs: int
    top1: float | None


@dataclass(frozen=True)
class Images:
    """The images of a run: their number, classes, and those that could not be read."""

    name: str
    labels: Labels
    train: int
    test: int                                      # evaluated after each epoch
    failures: tuple[Failure, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)
    class_counts: tuple[int, ...] = ()             # training images of each class
    sample: str = ""                               # a hash of labels and some images; "": not computed


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """An image as the network is trained on it, RGB uint8 [S, S, 3], and the likeliest classes of its target.

    ``target`` holds the probabilities of up to two classes by index: two where images are mixed or a teacher answers.
    """

    pixels: NDArray[np.uint8]
    target: Mapping[int, float]


@dataclass(frozen=True)
class TrainReport:
    """A finished training. ``model`` is its weights file, ``log`` has a mapping per epoch (see ``Epoch``)."""

    run: str
    model: str
    images: Images
    log: tuple[Mapping[str, float], ...]

    def __repr__(self) -> str:
        return f"<TrainReport {self.model}: {len(self.log)} epochs on {self.images.train:,} images>"


@dataclass(frozen=True)
class PathPoint:
    """A strength of regularisation, and the result of its head on ``n`` held-out training images."""

    l2: float
    n: int
    correct: int
    loss: float                                    # mean cross-entropy


@dataclass(frozen=True)
class FinetuneReport:
    """A finished run. ``evaluation`` is of the written bundle on val, ``test`` on images that took no part in choices.

    ``path`` is the probe's, ``log`` (see ``Epoch`` of the training loop) the full mode's; ``chosen`` is
    a sentence on how the model was selected. ``seconds`` are of this call without the evaluation, not of earlier
    calls of a resumed run.
    """

    run: str
    bundle: str
    model: str
    mode: FinetuneMode
    source: str
    data: str
    labels: Labels
    train: int                                     # images that could be read, as are those of ``val``
    val: int
    evaluation: EvalReport
    test: EvalReport | None = None
    failures: tuple[Failure, ...] = ()
    path: tuple[PathPoint, ...] = ()
    log: tuple[Mapping[str, float], ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)    # as on the bundle's card
    chosen: str = ""
    seconds: float = 0.0
    class_counts: tuple[int, ...] = ()             # training images of each class, the unreadable among them
    first_images: tuple[TrainingImage, ...] = ()   # of the full mode
    skipped: Skipped = field(default_factory=Skipped)

    def __repr__(self) -> str:
        return f"<FinetuneReport {self.bundle}: {self.mode} on {self.train:,} images, {self.evaluation!r}>"
