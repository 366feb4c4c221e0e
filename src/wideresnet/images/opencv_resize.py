"""Bilinear resizing as OpenCV does it, to the byte, without OpenCV.

``cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)`` reads four pixels for each new one, however much it
shrinks, so that detail aliases. Its arithmetic on uint8 is fixed point: weights are multiples of 1/2048, rows are
summed exactly and lose 4 bits, columns lose the rest (opencv/modules/imgproc/src/resize.cpp, ``HResizeLinear`` and
``VResizeLinear``). Halving both sides is another arithmetic there: the mean of four.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONE = 2048                                         # INTER_RESIZE_COEF_SCALE


def resize_part(
    image: NDArray[np.uint8], size: tuple[int, int], columns: range, rows: range
) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] -> the given ``columns`` and ``rows`` of it at ``size`` (width, height), in pixels."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image[rows.start : rows.stop, columns.start : columns.stop].copy()
    if (width, height) == (2 * size[0], 2 * size[1]):
        return _halved(image[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop])
    left, right, left_share, right_share = _neighbours(width, size[0], columns)
    above, below, above_share, below_share = _neighbours(height, size[1], rows)

    def across(source: NDArray[np.intp]) -> NDArray[np.int32]:
        """Whole numbers 2048 times too large, without their last 4 bits."""
        picked = source[:, None]
        both = image[picked, left] * left_share[:, None] + image[picked, right] * right_share[:, None]
        return both >> 4

    upper = (above_share[:, None, None] * across(above)) >> 16
    lower = (below_share[:, None, None] * across(below)) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    wide = image.astype(np.int32)
    total = wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


Neighbours = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]


def _neighbours(old: int, new: int, wanted: range) -> Neighbours:
    """For each wanted one of ``new`` pixels the two of ``old`` it lies between, and their shares times ``ONE``.

    Beyond the edge both are the same pixel.
    """
    first, beyond = _places(old, new, wanted)
    last = old - 1
    return first.clip(0, last), (first + 1).clip(0, last), _share(np.float32(1) - beyond), _share(beyond)


def _places(old: int, new: int, wanted: range) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The pixel of ``old`` left of (or above) each wanted one of ``new``, and how far beyond it that lies: 0 to 1."""
    scale = 1.0 / (new / old)                      # not old / new: the last bit counts
    places = ((np.asarray(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(places)
    return first.astype(np.intp), places - first


def _share(part: NDArray[np.float32]) -> NDArray[np.int32]:
    shares: NDArray[np.int32] = np.rint(part * np.float32(ONE)).astype(np.int32)
    return shares
