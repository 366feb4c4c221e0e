"""Arrays in NumPy's .npz files, read without unpickling: images, and logits of the model zoo."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wideresnet.errors import ImageError

PIXELS = "input_0"                                 # the model zoo's name for the image in such a file
MAX_BYTES = 2**29 + 2**10                          # of an array and its header: the most pixels that decode allows


# Raised by zipfile and numpy for damaged files; RuntimeError: encrypted.
_DAMAGE = (ValueError, EOFError, MemoryError, RuntimeError, TokenError, zipfile.BadZipFile, zlib.error)


def npz_image(file: BinaryIO) -> Image.Image:
    """Read the image in an .npz file of ``image2npz``: its array ``input_0``, RGB uint8 [3, H, W] or [1, 3, H, W].

    Raises ImageError for another file or array.
    """
    pixels = read_array(file, PIXELS)
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or len(pixels) != 3 or 0 in pixels.shape:
        problem = f"{PIXELS} is {pixels.dtype} {list(pixels.shape)}, not RGB uint8 [3, H, W]"
        raise ImageError(problem, hint="store the decoded pixels, not normalised ones")
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def read_array(file: Path | BinaryIO, name: str) -> NDArray[np.generic]:
    """Read the array ``name`` of an .npz file. Raises ImageError for another file, and where there is no such array.

    Object arrays are refused: they are pickles, and unpickling executes code.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            member = next((info for info in archive.infolist() if info.filename == f"{name}.npy"), None)
            if member is None:
                names = ", ".join(info.filename.removesuffix(".npy") for info in archive.infolist()[:9])
                raise ImageError(f"the .npz file has no array {name}", hint=f"it has {names or 'nothing'}")
            if member.file_size > MAX_BYTES:
                raise ImageError(f"{name} has {member.file_size:,} bytes, more than the limit of {MAX_BYTES:,}")
            with archive.open(member) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
    except _DAMAGE as error:
        if "allow_pickle" in str(error):
            problem = f"{name} holds pickled objects, which could execute code when read"
            raise ImageError(problem, hint="save it as plain numbers") from error
        raise ImageError(f"damaged .npz file: {str(error).rstrip('. ')}", hint="write it again") from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
