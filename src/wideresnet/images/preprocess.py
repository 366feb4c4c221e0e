"""The one preprocessing of all networks here: resize and centre crop, equal to torchvision's to the byte.

torchvision's ``Resize`` and ``CenterCrop`` on Pillow images, with their two rounding rules, each in a function of its
own below (torchvision/transforms/functional.py: ``_compute_resized_output_size``, ``center_crop``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images.opencv_resize import resize_part
from wideresnet.images.pillow_resize import Weights, shrinks_height_first
from wideresnet.records import Preprocess

# An image of 1 x 65,535 pixels would become 256 x 16,776,960. From this aspect ratio on only the crop is computed.
THIN = 100
# A JPEG may be decoded at a fraction of its size while its shorter side stays MIN_SCALE times the resize. For
# photographs every value of the crop is then within TOLERANCE grey levels of the exact one, the mean difference within
# MEAN_TOLERANCE (docs/decisions/0011). Full-contrast patterns of single pixels can be 16 levels off in the mean.
MIN_SCALE, TOLERANCE, MEAN_TOLERANCE = 2.5, 24, 2.0
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def preprocess(
    image: NDArray[np.uint8] | Image.Image, spec: Preprocess, *, reduced: bool = False
) -> NDArray[np.uint8]:
    """Resize an image and cut out its centre: RGB uint8 [S, S, 3] in 0..255, S = spec.crop.

    ``image`` is RGB uint8 [H, W, 3] in 0..255 or a Pillow image in mode RGB. ``reduced`` computes the crop alone, in
    two thirds of the time and to within one grey level, for photographs at least ``MIN_SCALE`` times as large as the
    resize; full contrast can be 12 levels off with bicubic. Raises ImageError for an array that is empty or not RGB.
    """
    if isinstance(image, np.ndarray):
        _check_array(image)
        if is_crop(image, spec):
            return image.copy()
        image = Image.fromarray(image)
    width, height = image.size
    new_width, new_height = resized_size(width, height, spec)
    columns, rows = crop_range(new_width, spec.crop), crop_range(new_height, spec.crop)
    if reduced:
        # Pillow takes the box in single precision, so that a value is rounded to its neighbour now and then.
        across, down = width / new_width, height / new_height
        box = (across * columns.start, down * rows.start, across * columns.stop, down * rows.stop)
        crop = image.resize((len(columns), len(rows)), _FILTERS[spec.interpolation], box)
        return _pad(np.array(crop), spec.crop)
    if spec.interpolation == "opencv-bilinear":
        return _pad(resize_part(np.asarray(image), (new_width, new_height), columns, rows), spec.crop)
    if spec.mode == "shortest" and max(width, height) > THIN * min(width, height):
        return _pad(_thin_crop(image, (new_width, new_height), columns, rows, spec), spec.crop)
    if width >= height:
        # Pillow resizes the width, rounds to 8 bits, then the height. Cutting columns in between changes no pixel and
        # saves a twentieth to a sixth of decoding and resizing an ImageNet photograph. Tall images are excluded:
        # since Pillow 13 their height may come first.
        image = _resize(image, (new_width, height), spec)
        image = image.crop((columns.start, 0, columns.stop, height))
        columns = range(len(columns))
        new_width = len(columns)
    image = _resize(image, (new_width, new_height), spec)
    return _pad(np.array(image.crop((columns.start, rows.start, columns.stop, rows.stop))), spec.crop)


def is_crop(image: NDArray[np.uint8], spec: Preprocess) -> bool:
    """Return whether an image [H, W, 3] has the size of the crop and of the resize: then it stays as it is."""
    return image.shape[:2] == (spec.resize, spec.resize) == (spec.crop, spec.crop)


def resized_size(width: int, height: int, spec: Preprocess) -> tuple[int, int]:
    """Return (width, height) after the resize, in pixels. The long side is truncated, not rounded."""
    if spec.mode == "squash":
        return spec.resize, spec.resize
    short, long = min(width, height), max(width, height)
    new_long = int(spec.resize * long / short)
    return (spec.resize, new_long) if width <= height else (new_long, spec.resize)


def crop_range(length: int, crop: int) -> range:
    """Return the columns (or rows) of ``length`` that a centre crop keeps: all where ``length`` is not larger.

    The offset is rounded, halves to the even neighbour.
    """
    if length <= crop:
        return range(length)
    start = round((length - crop) / 2.0)
    return range(start, start + crop)


def _check_array(array: NDArray[np.uint8]) -> None:
    """Raise ImageError for an array that is empty or not RGB uint8 [H, W, 3]."""
    if 0 in array.shape:
        raise ImageError("the image has no pixels")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(
            f"the array is {array.dtype} {list(array.shape)}, not RGB uint8 [H, W, 3]",
            hint="give brightness in 0..255 as uint8, with three colours as the last axis: of floats within 0..1"
            " (255 * image).round().astype('uint8'), without the normalisation, which the model does",
        )


def _thin_crop(
    image: Image.Image, size: tuple[int, int], columns: range, rows: range, spec: Preprocess
) -> NDArray[np.uint8]:
    """Return ``columns`` and ``rows`` of ``image`` resized to ``size``, without the rest of its long side."""
    (width, height), (new_width, new_height) = image.size, size
    if width >= height:
        weights = Weights(width, new_width, columns, spec.interpolation)
        part = np.asarray(image.crop((weights.source.start, 0, weights.source.stop, height)))
        part = weights.resize(part.swapaxes(0, 1)).swapaxes(0, 1)
        resized = _resize(Image.fromarray(np.ascontiguousarray(part)), (len(columns), new_height), spec)
        return np.asarray(resized)[rows.start : rows.stop].copy()
    weights = Weights(height, new_height, rows, spec.interpolation)
    image = image.crop((0, weights.source.start, width, weights.source.stop))
    if new_height < height and shrinks_height_first():
        image = Image.fromarray(weights.resize(np.asarray(image)))
        return np.asarray(_resize(image, (new_width, len(rows)), spec))[:, columns.start : columns.stop].copy()
    part = np.asarray(_resize(image, (new_width, image.height), spec))
    return weights.resize(part[:, columns.start : columns.stop])


def _resize(image: Image.Image, size: tuple[int, int], spec: Preprocess) -> Image.Image:
    return image if image.size == size else image.resize(size, _FILTERS[spec.interpolation])


def _pad(image: NDArray[np.uint8], crop: int) -> NDArray[np.uint8]:
    """Pad an image smaller than the crop with black on all sides; the odd pixel goes right and below."""
    height, width = image.shape[:2]
    if (height, width) == (crop, crop):
        return image
    top, left = (crop - height) // 2, (crop - width) // 2
    padded = np.zeros((crop, crop, 3), np.uint8)
    padded[top : top + height, left : left + width] = image
    return padded
