"""Noise images for verification and benchmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def noise(side: int, count: int = 8) -> NDArray[np.uint8]:
    """Return images of noise, always the same: uint8 [count, side, side, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
