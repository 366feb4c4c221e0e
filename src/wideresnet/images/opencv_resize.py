"""OpenCV's bilinear resizing, to the byte, without OpenCV.

``cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)`` reads four pixels for each new one at any scale,
so that detail aliases. Its arithmetic on uint8 is fixed point: weights are multiples of 1/2048, rows are
summed exactly and lose 4 bits, columns lose the rest (opencv/modules/imgproc/src/resize.cpp, ``HResizeLinear`` and
``VResizeLinear``). Halving both sides is computed otherwise there: the mean of four.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ONE = 2048                                         # INTER_RESIZE_COEF_SCALE


def resize_part(
    image: NDArray[np.uint8], size: tuple[int, int], columns: range, rows: range
) -> NDArray[np.uint8]:
    """Return ``columns`` and ``rows`` of an image, RGB uint8 [H, W, 3], resized to ``size`` (width, height)."""
    height, width = image.shape[:2]
    if size == (width, height):
        return image[rows.start : rows.stop, columns.start : columns.stop].copy()
    if (width, height) == (2 * size[0], 2 * size[1]):
        return _halved(image[2 * rows.start : 2 * rows.stop, 2 * columns.start : 2 * columns.stop])
    left_column, right_column, left_weight, right_weight = _neighbours(width, size[0], columns)
    upper_row, lower_row, upper_weight, lower_weight = _neighbours(height, size[1], rows)

    def resize_rows(source: NDArray[np.intp]) -> NDArray[np.int32]:
        """Resize the rows ``source`` to the new width: integers scaled by 2048, without their last 4 bits."""
        row = source[:, None]
        total = image[row, left_column] * left_weight[:, None] + image[row, right_column] * right_weight[:, None]
        return total >> 4

    upper = (upper_weight[:, None, None] * resize_rows(upper_row)) >> 16
    lower = (lower_weight[:, None, None] * resize_rows(lower_row)) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    wide = image.astype(np.int32)
    total = wide[::2, ::2] + wide[::2, 1::2] + wide[1::2, ::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


Neighbours = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]


def _neighbours(old: int, new: int, indices: range) -> Neighbours:
    """Return the two of ``old`` pixels around each pixel ``indices`` of ``new``, and their weights times ``ONE``.

    Beyond the edge both are the same pixel.
    """
    scale = 1.0 / (new / old)                      # not old / new: the last bit counts
    positions = ((np.asarray(indices) + 0.5) * scale - 0.5).astype(np.float32)
    floor = np.floor(positions)
    first, fraction, last = floor.astype(np.intp), positions - floor, old - 1
    return first.clip(0, last), (first + 1).clip(0, last), _weight(np.float32(1) - fraction), _weight(fraction)


def _weight(fraction: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.rint(fraction * np.float32(ONE)).astype(np.int32)
