"""The features of images, and a file of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wideresnet.records.accuracy import EngineInfo
from wideresnet.records.images import Failure
from wideresnet.records.skipped import Skipped


@dataclass(frozen=True, eq=False)
class Embedding:
    """The features of one image: layer -> float32 [C], or [C, H, W] where positions are kept."""

    path: str
    values: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class EmbedReport:
    """A file of features: ``n`` rows of the ``shapes`` of its layers."""

    file: str
    model: str
    engine: EngineInfo
    n: int
    shapes: dict[str, tuple[int, ...]]
    dtype: str
    failures: tuple[Failure, ...] = ()
    assumed: tuple[str, ...] = ()                  # of the model, as on its card
    skipped: Skipped = field(default_factory=Skipped)
