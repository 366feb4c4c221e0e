"""A part of the result of Pillow's antialiased resize, to the byte, where the complete result is too large.

``Image.resize`` weighs source pixels in fixed point, the width first and the height after it, rounding to 8 bits in
between (Pillow, src/libImaging/Resample.c, ``precompute_coeffs`` and ``normalize_coeffs_8bpc``). Each column and row of
the result has weights of its own, so that any range of them can be computed alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
PRECISION = 22                                     # bits of a weight behind the point


def _bilinear(x: Floats) -> Floats:
    return np.maximum(1 - x, 0)


def _bicubic(x: Floats) -> Floats:
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0))


# Support in source pixels without shrinking, and weight by distance.
_FILTERS: dict[str, tuple[float, Callable[[Floats], Floats]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
}


class Weights:
    """The source pixels and weights of the pixels ``indices`` of ``new``, for a line of ``old`` pixels.

    ``source`` is the range of all source pixels; ``resize`` takes that part of the line.
    """

    def __init__(self, old: int, new: int, indices: range, interpolation: str) -> None:
        support, weight = _FILTERS[interpolation]
        scale = float(np.float32(old)) / new       # Pillow stores the box in single precision
        shrink = max(scale, 1.0)
        centre = (np.asarray(indices) + 0.5) * scale
        first = np.maximum(centre - support * shrink + 0.5, 0).astype(np.intp)
        last = np.minimum((centre + support * shrink + 0.5).astype(np.intp), old)
        self.source = range(int(first[0]), int(last[-1]))
        self._first, taps = first - first[0], int((last - first).max())
        index = np.arange(taps)[:, None]
        distance = np.abs((index + first) - centre + 0.5) * (1.0 / shrink)
        weights = np.where(first + index < last, weight(distance), 0)
        weights /= np.cumsum(weights, axis=0)[-1]  # summed in sequence, as by Pillow
        rounded = weights * (1 << PRECISION) + np.where(weights < 0, -0.5, 0.5)
        self._weights = rounded.astype(np.int32)   # [taps, len(indices)]

    def resize(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize uint8 [len(source), K, 3] to uint8 [len(indices), K, 3]."""
        total = np.full((len(self._first), *part.shape[1:]), 1 << (PRECISION - 1), np.int32)
        for tap, weight in enumerate(self._weights):
            index = np.minimum(self._first + tap, len(part) - 1)       # beyond the last the weight is 0
            total += part[index] * weight[:, None, None]
        return (total >> PRECISION).clip(0, 255).astype(np.uint8)


@cache
def shrinks_height_first() -> bool:
    """Return whether this version of Pillow begins with the height where it shrinks a very tall image."""
    noise = np.random.default_rng(0).integers(0, 256, (900, 3, 3), np.uint8)
    image, new = Image.fromarray(noise), (2, 600)
    width_first = image.resize((2, 900), Image.Resampling.BILINEAR).resize(new, Image.Resampling.BILINEAR)
    return image.resize(new, Image.Resampling.BILINEAR) != width_first
