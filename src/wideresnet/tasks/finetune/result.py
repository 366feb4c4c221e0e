"""The result of either fine-tuning mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.records import Failure, PathPoint, TrainingImage


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """Trained weights (a state dict) and the run that led to them."""

    tensors: Mapping[str, NDArray[np.generic]]
    failures: tuple[Failure, ...]                  # unreadable images
    chosen: str                                    # how the weights were selected, in words
    path: tuple[PathPoint, ...] = ()               # of the probe
    log: tuple[Mapping[str, float], ...] = ()      # of the full mode, one entry per epoch
    first_images: tuple[TrainingImage, ...] = ()   # of the full mode
    recipe: str = ""                               # of the full mode, as TOML
