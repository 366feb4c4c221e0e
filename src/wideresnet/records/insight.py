"""What a network makes of an image besides the answer: its evidence, and its features."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wideresnet.records.accuracy import EngineInfo
from wideresnet.records.images import Failure, LabelScore
from wideresnet.records.skipped import Skipped

Box = tuple[int, int, int, int]                    # left, top, right, bottom; pixels, the last two exclusive


@dataclass(frozen=True, eq=False)
class ClassMap:
    """Where a network finds evidence for one class (a class activation map, arXiv 1512.04150).

    ``evidence`` is float32 [h, w]: its mean plus ``bias`` is the logit, so that each place's share of the answer
    is exact. An int8 network rounds the mean once more before it answers; there they differ by that.
    """

    score: LabelScore
    logit: float
    bias: float
    evidence: NDArray[np.float32]
    peak: Box                                      # of the strongest place, in the crop


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image with the maps of some classes.

    ``crop`` is what the network saw: RGB uint8 [S, S, 3]. Place (row, column) of a map looks at the pixels around
    (``stride`` · row, ``stride`` · column) of it.
    """

    path: str
    crop: NDArray[np.uint8]
    stride: int                                    # pixels from one place to the next
    maps: tuple[ClassMap, ...]


@dataclass(frozen=True, eq=False)
class Embedding:
    """The features of one image: layer -> float32 [C], or [C, H, W] where positions are kept."""

    path: str
    values: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class EmbedReport:
    """A file of features: ``n`` rows, each of the ``shapes`` its layers have."""

    file: str
    model: str
    engine: EngineInfo
    n: int
    shapes: dict[str, tuple[int, ...]]
    dtype: str
    failures: tuple[Failure, ...] = ()
    assumed: tuple[str, ...] = ()                  # of the model, as on its card
    skipped: Skipped = field(default_factory=Skipped)
