"""TIFF files with Pillow's reader, with messages for kinds that it does not support and tags that it ignores."""

from __future__ import annotations

import ctypes
import io
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
from PIL import Image, ImagePalette, TiffTags, _imaging
from PIL.TiffImagePlugin import COMPRESSION_INFO, ImageFileDirectory_v2, TiffImageFile

from wideresnet.errors import ImageError
from wideresnet.images.rgb import conversion, eight_bits
from wideresnet.images.sniff import DEVELOP

# Tags: TIFF 6.0, and the DNG specification.
SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
STRIP_OFFSETS, BANDS, STRIP_SIZES, PLANAR, COLOURS, TILE_OFFSETS, TILE_SIZES = 273, 277, 279, 284, 320, 324, 325
MAX_VALUE, SUB_FILES, SAMPLE_FORMAT, DNG_VERSION = 281, 330, 339, 50706
WHITE_IS_ZERO, UNSIGNED, SIGNED, SEPARATE, REDUCED = 0, 1, 2, 2, 1
_TYPES = {UNSIGNED: "uint", SIGNED: "int", 3: "float", 5: "complex integer ", 6: "complex"}
_MARKED = {0: "white at zero", 1: "grey", 2: "RGB", 3: "palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB"}
_SENSOR = (32803, 34892)                           # photometric interpretations of raw files
Tags = Mapping[int, Any]


def open_tiff(file: io.BytesIO) -> TiffImageFile:
    """Open the first image of a TIFF, not loaded yet.

    Raises ImageError for a complete file that Pillow cannot read or would read wrongly, with its content, and Pillow's
    own errors for a damaged one.
    """
    _silence_libtiff()
    try:
        image = TiffImageFile(file)
    except Exception:
        tags = _read_tags(file)
        if _is_complete(tags, len(file.getbuffer())):
            raise _unsupported_error(tags) from None
        raise
    tags = image.tag_v2
    # Planar bands: without compression Pillow reads 16 bits as 8.
    planar = tags.get(PLANAR) == SEPARATE and tags.get(BANDS, 1) > 1 and max(tags.get(BITS, (1,))) > 8
    if _is_raw(tags) or (planar and tags.get(COMPRESSION, 1) == 1):
        raise _unsupported_error(tags)
    if image.mode in ("P", "PA") and max(tags[COLOURS]) < 256:     # 8-bit colours instead of 16: libtiff's rule
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[COLOURS]))
    image.info["bits"] = _stated_bits(tags)
    exif = image.getexif()                         # as load() would, whose warnings are not suppressed
    for key in TiffTags.TAGS_V2_GROUPS:
        if key in exif and not image.is_animated:
            exif.get_ifd(key)
    return image


def grey_in_8_bits(image: TiffImageFile) -> Image.Image:
    """Convert a loaded TIFF to mode L where it is one band of numbers other than bytes. Raises ImageError."""
    if image.mode != "L" and image.mode[0] not in "IF":
        return image
    tags, values = image.tag_v2, np.asarray(image)
    kind, bits = tags.get(SAMPLE_FORMAT, (UNSIGNED,))[0], tags.get(BITS, (1,))[0]
    if image.mode.startswith("I;16"):
        values = values.astype(np.uint16)
    elif image.mode == "I":
        values = values.view(np.uint32) if kind == UNSIGNED else values.astype(f"int{bits}")
    elif image.mode == "L" and kind == SIGNED:
        values = values.view(np.int8)
    elif image.mode != "F":
        return image
    shown = eight_bits(values, image.info["bits"])
    return Image.fromarray(255 - shown if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else shown)


def _stated_bits(tags: Tags) -> int:
    """Return the bits of values that are stored in 16: their number, or from a maximum such as 4095; 0: unknown."""
    highest = max(np.atleast_1d(tags.get(MAX_VALUE, 0)))
    bits = int(tags.get(BITS, (1,))[0])
    if bits == 16 and highest & (highest + 1) == 0:        # another may be the maximum of this file only
        bits = int(highest).bit_length()
    return bits % 16


@cache
def _silence_libtiff() -> None:
    """Turn off libtiff's messages on stderr, as Pillow does with its warnings. (Not on Windows.)"""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _read_tags(file: io.BytesIO) -> ImageFileDirectory_v2:
    file.seek(0)
    head = file.read(8)
    tags = ImageFileDirectory_v2(head + file.read(8) if head[2] == 43 else head)        # BigTIFF
    file.seek(tags.next)
    tags.load(file)
    return tags


def _is_complete(tags: Tags, size: int) -> bool:
    """Return whether the tags are valid and the file of ``size`` bytes holds all that they point to."""
    offsets = tags.get(STRIP_OFFSETS) or tags.get(TILE_OFFSETS) or (size,)
    sizes = tags.get(STRIP_SIZES) or tags.get(TILE_SIZES) or (1,)
    valid = all(isinstance(tags.get(key), int) for key in (WIDTH, HEIGHT)) and max(tags.get(BITS, (1,))) <= 64
    return valid and all(offset + count <= size for offset, count in zip(offsets, sizes, strict=False))


def _is_raw(tags: Tags) -> bool:
    """Return whether the image is the preview in a camera's raw file (DNG, NEF, ARW, PEF), or sensor values."""
    preview = SUB_FILES in tags and tags.get(SUBFILE_TYPE, 0) & REDUCED
    return DNG_VERSION in tags or bool(preview) or tags.get(PHOTOMETRIC) in _SENSOR


def _unsupported_error(tags: Tags) -> ImageError:
    if _is_raw(tags):
        return ImageError("not an image but a camera's raw data", DEVELOP)
    bands, bits, kinds = tags.get(BANDS, 1), tags.get(BITS, (1,)), tags.get(SAMPLE_FORMAT, (UNSIGNED,))
    types = dict.fromkeys(f"{_TYPES.get(kind, 'type')}{size}" for size, kind in zip(bits, cycle(kinds), strict=False))
    method, marked = tags.get(COMPRESSION, 1), tags.get(PHOTOMETRIC, "?")
    text = f"{bands} band{'s' * (bands > 1)} of {' and '.join(types)} marked as {_MARKED.get(marked, marked)}"
    if tags.get(PLANAR) == SEPARATE and bands > 1:
        text += ", each band by itself"
    if method not in COMPRESSION_INFO:
        text += f", compressed by method {method}"
    low, high = (0, 255) if list(types) == ["uint8"] else ("MIN", "MAX")
    problem = f"the TIFF holds {text} ({tags[WIDTH]:,} x {tags[HEIGHT]:,} pixels), which is not supported"
    return ImageError(problem, hint=conversion(low, high, bands))
