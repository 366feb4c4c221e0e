"""Images as Python callers pass them: paths, encoded bytes, NumPy arrays and Pillow images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import ConfigError, ImageError, check_choice
from wideresnet.images.decode import TURNS
from wideresnet.images.exif import UPRIGHT, orientation
from wideresnet.images.loader import named_item
from wideresnet.images.rgb import to_rgb
from wideresnet.records import Alpha, Exif, Item

# A path, the bytes of an image file, RGB uint8 [H, W, 3], or a Pillow image of any mode.
ImageInput = str | Path | bytes | NDArray[np.uint8] | Image.Image
ImageInputs = Iterable[ImageInput] | ImageInput


def input_items(images: ImageInputs, exif: Exif = "ignore", alpha: Alpha = "drop") -> Iterator[Item]:
    """Yield one item per image: a file has its path as its name, any other image its index ("image 0").

    An array [N, H, W, 3] is N images. ``exif`` and ``alpha`` apply to Pillow images; files and bytes are decoded when
    the item is read. Raises ConfigError for an object that is no image, ImageError for a Pillow image that cannot be
    converted.
    """
    check_choice("way to treat EXIF", exif, ("ignore", "transpose"))
    single = isinstance(images, str | os.PathLike | bytes | Image.Image)
    if single or (isinstance(images, np.ndarray) and images.ndim != 4):
        images = [images]                          # type: ignore[list-item]
    elif not isinstance(images, Iterable):
        raise _not_an_image("the argument", images)
    return (_item(image, f"image {index}", exif, alpha) for index, image in enumerate(images))


def _item(image: object, name: str, exif: Exif, alpha: Alpha) -> Item:
    if isinstance(image, str | os.PathLike):
        return named_item(Path(image))
    if isinstance(image, Image.Image):
        return Item(name, _pixels(image, name, exif, alpha))
    if isinstance(image, bytes | np.ndarray):
        return Item(name, image)
    raise _not_an_image(name, image)


def _pixels(image: Image.Image, name: str, exif: Exif, alpha: Alpha) -> NDArray[np.uint8]:
    """Return a Pillow image as RGB uint8 [H, W, 3]; the image itself is not changed."""
    try:
        turn = orientation(image.info.get("exif") or b"") if exif == "transpose" else UPRIGHT
        copy = image.copy() if turn == UPRIGHT else image.transpose(TURNS[turn])
        return np.asarray(to_rgb(copy, alpha))
    except ImageError as error:
        raise ImageError(f"{name}: {error.message}", error.hint) from error
    except (OSError, ValueError) as error:         # a closed or damaged file behind the image
        raise ImageError(f"{name}: the Pillow image cannot be read: {error}") from error


def _not_an_image(name: str, image: object) -> ConfigError:
    return ConfigError(
        f"{name} is not an image: {type(image).__name__}",
        hint="give paths, bytes, NumPy arrays (RGB uint8 [H, W, 3]) or Pillow images, one or several",
    )
