"""Images as Python callers pass them: paths, folders, shards, encoded bytes, open files, arrays and Pillow images."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.datasets.shards import ShardImages, Unreadable, find_shards
from wideresnet.errors import ConfigError, ImageError, check_choice, errors_as
from wideresnet.images.decode import TURNS
from wideresnet.images.exif import UPRIGHT, orientation
from wideresnet.images.files import describe_skipped, find_images, no_images_error
from wideresnet.images.loader import named_item
from wideresnet.images.rgb import to_rgb
from wideresnet.records import Alpha, Exif, Item, Skipped

BANDS = (1, 3, 4)                                  # grey, RGB, RGB with alpha
KINDS = "paths, bytes, open binary files, NumPy arrays (RGB uint8 [H, W, 3]) or Pillow images"


class Tensor(Protocol):
    """An array of another library, such as ``torch.Tensor``."""

    def __array__(self) -> Any:
        """Return the values as a NumPy array."""


# A path, an image file's bytes or open file, an array RGB uint8 [H, W, 3] or tensor, or a Pillow image of any mode.
ImageInput = str | os.PathLike[str] | bytes | BinaryIO | NDArray[np.uint8] | Tensor | Image.Image
ImageInputs = Iterable[ImageInput] | ImageInput


class SkippedWarning(UserWarning):
    """Files in a folder or archive were passed over, because they are not images."""


class PathImages:
    """An iterable of the images at a path, unlabelled: a file, a folder (``find_images``) or shards (``find_shards``).

    ``several``: it is one of several paths, whose images need different names. ``skipped`` counts the files that the
    last complete iteration passed over. A pipe that the user names is read.
    """

    def __init__(self, path: Path, *, several: bool) -> None:
        self.path, self._several, self.skipped = path, several, Skipped()

    def __iter__(self) -> Iterator[Item]:
        shards = find_shards(self.path)
        images = ShardImages(shards, prefixed=self._several) if shards else find_images([self.path])
        for image in images:
            if isinstance(image, Path):
                image = named_item(image) if image == self.path else Item(str(image), image)
            yield image
        self.skipped = images.skipped


def input_items(images: object, exif: Exif = "transpose", alpha: Alpha = "drop") -> Iterator[Item]:
    """Yield one item per image: a file has its path as its name, any other image its index ("image 0").

    A path to a folder or to shards stands for the images in it; a SkippedWarning counts what it passes over. An array
    [N, H, W, 3] is N images. ``exif`` and ``alpha`` apply to Pillow images and arrays; open files are read when their
    turn comes, files and bytes when the item is read. What cannot be converted is an item whose reading raises
    ImageError. Raises ConfigError for an object that is no image.
    """
    check_choice("way to treat EXIF", exif, ("ignore", "transpose"))
    inputs = as_images(images)
    several = not isinstance(inputs, Sized) or len(inputs) > 1
    numbered = enumerate(inputs)
    return (item for index, image in numbered for item in _items(image, f"image {index}", exif, alpha, several))


def input_item(image: object, exif: Exif, alpha: Alpha) -> Item:
    """Return one image as an item; see ``input_items``. A path is that of an image file."""
    if isinstance(image, str | os.PathLike) and os.fspath(image):
        return named_item(Path(image))
    (item,) = _items(image, "the argument", exif, alpha, several=False)
    return item


def as_images(images: object) -> Iterable[object]:
    """Return one image or several as an iterable of images; an array [N, H, W, C] stays one array.

    Raises ConfigError for an object that is neither.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(images, "read"):
        return [images]
    if hasattr(images, "__array__"):
        array = _array(images, "the argument")
        if array.dtype.kind in "OU":               # a column of a table: paths, or images of several sizes
            return list(np.atleast_1d(array))
        return array if array.ndim == 4 else [array]
    if not isinstance(images, Iterable):
        raise _not_an_image("the argument", images)
    return images


def _items(image: object, name: str, exif: Exif, alpha: Alpha, several: bool) -> Iterable[Item]:
    if isinstance(image, str | os.PathLike):
        if not os.fspath(image):                   # as a path it is the current folder
            error = ImageError("the path is an empty string", "leave out the images that have no path")
            return [Item(name, Unreadable(error))]
        path = Path(image)
        return _walk(path, several) if path.is_dir() or find_shards(path) else [named_item(path)]
    if isinstance(image, io.TextIOBase):
        raise ConfigError(f"{name} is a file that was opened as text", hint="open it with open(path, 'rb')")
    try:
        if isinstance(image, bytes | bytearray):
            return [Item(name, bytes(image))]
        if isinstance(image, Image.Image):
            return [Item(name, _pixels(image, exif, alpha))]
        if hasattr(image, "read"):
            path_of_file = getattr(image, "name", None)
            return [Item(path_of_file if isinstance(path_of_file, str) else name, _read(image))]
        if hasattr(image, "__array__"):
            return [Item(name, _rgb(_array(image, name).copy(), alpha))]      # a generator may fill its buffer again
    except ImageError as error:
        return [Item(name, Unreadable(error))]
    raise _not_an_image(name, image)


def _walk(path: Path, several: bool) -> Iterator[Item]:
    """Yield the images of a folder or of shards, or one item that raises ImageError where there are none."""
    images, item = PathImages(path, several=several), None
    for item in images:
        yield item
    if item is None:
        yield Item(str(path), Unreadable(no_images_error(str(path), images.skipped)))
    else:
        for line in filter(None, (*images.skipped.notes, describe_skipped(images.skipped, str(path)))):
            warnings.warn(line, SkippedWarning, stacklevel=2)


def _read(file: Any) -> bytes:
    with errors_as((OSError, ValueError), ImageError, "the open file cannot be read"):        # a closed one: ValueError
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)                           # as Pillow does: a buffer that was just written stands at its end
        data = file.read()
    if isinstance(data, bytes):
        return data
    raise ConfigError(f"read() of an open file returned {type(data).__name__}", hint="open it with open(path, 'rb')")


def _array(values: object, name: str) -> NDArray[Any]:
    caught = (TypeError, ValueError, RuntimeError)     # of a tensor on a GPU, or one that has a gradient
    with errors_as(caught, ConfigError, f"{name} cannot be read as an array", hint="give tensor.detach().cpu()"):
        return np.asarray(values)


def _rgb(array: NDArray[Any], alpha: Alpha) -> NDArray[Any]:
    """Return RGB uint8 [H, W, 3] of uint8 [H, W] or [H, W, C] or [C, H, W] with 1, 3 or 4 bands.

    Any other array has no single meaning: it is returned as it is, and refused when it is preprocessed.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
        return array
    bands = np.atleast_3d(array)                   # grey [H, W] -> [H, W, 1]
    if bands.shape[2] not in BANDS and bands.shape[0] in BANDS:
        bands = np.moveaxis(bands, 0, 2)
    if bands.shape[2] == 1:
        return bands.repeat(3, axis=2)
    return np.asarray(to_rgb(Image.fromarray(bands), alpha)) if bands.shape[2] == 4 else bands


def _pixels(image: Image.Image, exif: Exif, alpha: Alpha) -> NDArray[np.uint8]:
    """Return a Pillow image as RGB uint8 [H, W, 3]; the image itself is not changed."""
    # A closed or damaged file may be behind the image.
    with errors_as((OSError, ValueError), ImageError, "the Pillow image cannot be read"):
        turn = orientation(image.info.get("exif") or b"") if exif == "transpose" else UPRIGHT
        copy = image.copy() if turn == UPRIGHT else image.transpose(TURNS[turn])
        return np.asarray(to_rgb(copy, alpha))


def _not_an_image(name: str, image: object) -> ConfigError:
    return ConfigError(f"{name} is not an image: {type(image).__name__}", hint=f"give {KINDS}, one or several")
