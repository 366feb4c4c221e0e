"""Decoding of files and bytes to RGB pixels with Pillow, with a defined result for every unusual file."""

from __future__ import annotations

import io
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from wideresnet.errors import ImageError
from wideresnet.images.exif import UPRIGHT, orientation, split_exif
from wideresnet.images.formats import jpeg_xl_size, open_heic, open_jpeg_xl
from wideresnet.images.npz import npz_image
from wideresnet.images.png import pixel_chunks, significant_bits
from wideresnet.images.rgb import check_steps, conversion, eight_bits, to_rgb
from wideresnet.images.sniff import CONVERT, image_format, no_image
from wideresnet.images.tiff import grey_in_8_bits, open_tiff
from wideresnet.images.workload import webp_size
from wideresnet.pipes import WAIT, read_file, special_kind
from wideresnet.records import Alpha, Exif

logging.getLogger("PIL").addHandler(logging.NullHandler())     # else Python writes Pillow's errors to stderr


@dataclass(frozen=True)
class Limits:
    """The limits of one image: size and memory are checked before it is decoded. That of pixels is Pillow's."""

    pixels: int = 178_956_970                      # 1.2 GB at the peak of decoding most formats
    bytes: int = 256 * 2**20                       # of the encoded file
    seconds: float = 60.0                          # of decoding, where the header does not bound it (not on Windows)
    memory: int = 2**32                            # bytes that decoding may take


DEFAULT_LIMITS = Limits()
PEAK_BYTES = {"WebP": 16, "JPEG 2000": 20, "AVIF": 10, "NPZ": 10}   # a pixel, measured; those of other formats: 4 to 7
WARNED_PIXELS = 2**26                              # below Pillow's threshold for a warning


def _jpeg(file: io.BytesIO) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(file)
    # One block: near the end of each block libjpeg decodes slowly, and blocks of 64 KB cost 2 to 4 %.
    image.decodermaxblock = file.getbuffer().nbytes
    return image


def _png(file: io.BytesIO) -> Image.Image:
    data = file.getvalue()
    image = PngImagePlugin.PngImageFile(io.BytesIO(pixel_chunks(data)))
    image.info["bits"] = significant_bits(data) % 16
    factor = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args) if image.tile else "")
    if factor and "transparency" in image.info:    # of the file's bits, while Pillow scales the pixels to 8
        image.info["transparency"] = (image.info["transparency"] & 255 // factor) * factor
    return image


def _ppm(file: io.BytesIO) -> Image.Image:
    image = PpmImagePlugin.PpmImageFile(file)
    args = image.tile[0].args
    image.info["bits"] = 16 if isinstance(args, tuple) and 255 < args[-1] < 65535 else 0       # scaled by Pillow
    return image


def _jpeg_2000(file: io.BytesIO) -> Image.Image:
    data, stated = file.getvalue(), 0
    size = data.find(b"\xff\x4f\xff\x51")          # size marker (ISO/IEC 15444-1, A.5.1): bands, and bits of the first
    if 0 <= size < len(data) - 42:
        bands, depth = int.from_bytes(data[size + 40 : size + 42], "big"), 1 + (data[size + 42] & 0x7F)
        # Pillow rounds more than 8 bits of a colour without saturation: white becomes black.
        if bands > 4 or depth > (16 if bands == 1 else 8):
            problem = f"the JPEG 2000 file holds numbers of {depth} bits (bands: {bands}), which is not supported"
            raise ImageError(problem, hint=conversion(0, 2**depth - 1, bands))
        stated = 16 * (depth < 16)                 # scaled by Pillow
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(file)
    image.info["bits"] = stated
    return image


# The classes and not Image.open, which tries thirty more formats (EPS starts Ghostscript) and warns of sizes that are
# allowed here.
_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": GifImagePlugin.GifImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": open_tiff,
    "PPM": _ppm,
    "JPEG 2000": _jpeg_2000,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIC": open_heic,
    "JPEG XL": open_jpeg_xl,
    "NPZ": npz_image,
}
# Pillow's raw modes keep the high byte; those of the other byte order keep the low one.
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_UPRIGHT_FORMATS = ("TIFF", "HEIC", "JPEG XL")     # turned upright by their readers in any case
# Pillow's messages for complete files of a kind that it does not support.
_UNSUPPORTED = re.compile(
    r"cannot handle|unsupported|not supported|not installed|not available|unable to determine", re.IGNORECASE
)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    source: bytes | Path, *, exif: Exif = "ignore", alpha: Alpha = "drop", limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """Decode an image file or its bytes to RGB uint8 [H, W, 3] in 0..255, not writeable.

    The pixels are those of Pillow's ``Image.open(...).convert("RGB")``, of an animation the first frame; the ending of
    the name is ignored. Only images of more than 8 bits differ: see ``images/rgb``. ``alpha``: transparency is dropped,
    or laid on white. ``exif="transpose"`` turns a photograph upright; damaged EXIF counts as upright.

    Emits no warnings, changes no state of Pillow, and may run in many threads. Raises ImageError for a file that cannot
    be read, is not an image, is damaged or cut short, exceeds ``limits``, or holds numbers that are not brightness.
    """
    return np.asarray(open_image(source, exif=exif, alpha=alpha, limits=limits))


def open_image(
    source: bytes | Path,
    *,
    exif: Exif = "ignore",
    alpha: Alpha = "drop",
    limits: Limits = DEFAULT_LIMITS,
    min_side: int = 0,
) -> Image.Image:
    """Decode like ``decode``, to a loaded Pillow image in mode RGB.

    For a resize afterwards: making an array takes as long as decoding a large photograph. With ``min_side`` a JPEG is
    decoded at a half, a quarter or an eighth of its size (libjpeg then skips most of the arithmetic) if its sides
    divide evenly and the shorter one keeps ``min_side`` pixels; 0: at full size.
    """
    data = source if isinstance(source, bytes) else read_encoded(source, limits)
    if len(data) > limits.bytes:
        raise _too_many_bytes(limits)
    kind = image_format(data)
    if kind is None:
        content = no_image(data)
        raise ImageError(f"not an image but {content.name}", hint=content.hint)
    try:
        return _open(data, kind, exif, alpha, limits, min_side)
    except ImageError:
        raise
    except Exception as error:
        # Readers raise whatever their arithmetic on damaged bytes runs into: OSError, SyntaxError, ValueError,
        # struct.error, zlib.error, MemoryError...
        if isinstance(error, MemoryError):
            raise ImageError(f"the {kind} image needs more memory than there is", hint="shrink it") from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if _UNSUPPORTED.search(reason):
            raise ImageError(f"a {kind} image of an unsupported kind: {reason}", hint=CONVERT) from error
        hint = f"{len(data):,} bytes are there; the file may be cut short: fetch it again"
        raise ImageError(f"damaged {kind} image: {reason}", hint) from error


def stored_orientation(data: bytes) -> int:
    """Return the EXIF orientation that ``decode`` ignores by default; a JPEG or PNG may be cut. 1 where it is unknown.

    No pixels are decoded.
    """
    kind = image_format(data)
    if kind == "JPEG":
        return orientation(split_exif(data)[1])
    if kind in ("PNG", "WebP", "AVIF"):
        with suppress(Exception):                  # see open_image
            return orientation(_READERS[kind](io.BytesIO(data)).info.get("exif") or b"")
    return UPRIGHT


def read_encoded(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read the bytes of an image file or pipe. Raises ImageError where it cannot be read or exceeds ``limits``."""
    try:
        if path.stat().st_size > limits.bytes:
            raise _too_many_bytes(limits)
        return read_file(path, limits.bytes + 1)   # a pipe has no size, and some devices are endless
    except IsADirectoryError as error:
        raise ImageError("not an image but a folder") from error
    except FileNotFoundError as error:
        raise ImageError("no such file", hint="check whether it was moved or deleted, or is a broken link") from error
    except (OSError, ValueError) as error:         # ValueError: a zero byte in the name
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_regular(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read a file from a folder or list like ``read_encoded``; pipes, sockets and devices are not opened."""
    if kind := special_kind(path):
        hint = f"a pipe is read if you name it yourself and data come within {WAIT:g} s" if "pipe" in kind else ""
        raise ImageError(f"not a regular file: {kind}", hint or "move it away")
    return read_encoded(path, limits)


def _too_many_bytes(limits: Limits) -> ImageError:
    problem = f"the file is larger than the limit of {limits.bytes:,} bytes"
    return ImageError(problem, hint="shrink the image")


def _open(data: bytes, kind: str, exif: Exif, alpha: Alpha, limits: Limits, min_side: int) -> Image.Image:
    block = b""
    if kind == "JPEG":
        data, block = split_exif(data)
    elif kind in _SIZES:                           # their readers allocate the canvas on opening
        _check_pixels(_SIZES[kind](data), limits, kind)
    with _without_warnings(kind in ("TIFF", "GIF")):        # about invalid tags and sizes
        image = _READERS[kind](io.BytesIO(data))
    _check_pixels(image.size, limits, kind)
    if kind == "JPEG" and min_side:
        _draft(image, min_side)
    deep = _has_deep_colours(image)
    with _without_warnings(kind == "TIFF" and image.width * image.height > WARNED_PIXELS):
        image.load()
    block = block or image.info.get("exif") or b""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image = grey_in_8_bits(image)
    if deep:
        image = _deep_colours(image, data, kind, alpha)
    if exif == "transpose" and kind not in _UPRIGHT_FORMATS and (turn := orientation(block)) != UPRIGHT:
        image = image.transpose(TURNS[turn])
    return to_rgb(image, alpha)


def _has_deep_colours(image: Image.Image) -> bool:
    """Return whether the file has colours of 16 bits, of which Pillow keeps the high byte."""
    tiles = getattr(image, "tile", ()) if len(image.getbands()) > 1 else ()
    return any(";16" in str(args) or (name.startswith("ppm") and args[-1] > 255) for name, _, _, args in tiles)


def _deep_colours(image: Image.Image, data: bytes, kind: str, alpha: Alpha) -> Image.Image:
    """Convert a loaded image of 16-bit colours, of which Pillow kept the high byte, by the table of ``images/rgb``.

    Where the high byte may not suffice, the low one is read too, by swapping the byte order of Pillow's reader.
    """
    high, bits = np.array(image), image.info.get("bits", 0)
    key = image.info.get("transparency") if alpha == "white" else None
    bright = high[..., :3].max() >= 2 ** (bits or 12) / 256
    if (key is None and bright) or (low := _low_bytes(data, kind)) is None:
        check_steps(high[..., :3], bits)
        if bits % 16 and not bright:               # grey with alpha
            problem = f"the {kind} holds colours of {bits} bits in 16, of which the low byte cannot be read"
            raise ImageError(problem, conversion(0, 2**bits - 1))
        return image
    values = high.astype(np.uint16) << 8 | low
    high[..., :3] = eight_bits(values[..., :3], bits)
    if image.mode == "RGBA":
        high[..., 3] = eight_bits(values[..., 3], bits or 16)
    image = Image.fromarray(high)
    if key is not None:
        image.putalpha(Image.fromarray((values != key).any(-1)).convert("L"))
    return image


def _low_bytes(data: bytes, kind: str) -> NDArray[np.uint8] | None:
    """Return the low bytes of 16-bit colours; None where Pillow cannot read them."""
    with _without_warnings(kind == "TIFF"):
        image: Any = _READERS[kind](io.BytesIO(data))
        args = image.tile[0].args
        rawmode = args if isinstance(args, str) else args[0]
        if not re.fullmatch(r"RGB[AX]?;16[BLN]", rawmode):
            return None
        rawmode = rawmode[:-1] + _OTHER_ORDER[rawmode[-1]]
        image.tile = [
            tile._replace(args=rawmode if isinstance(args, str) else (rawmode, *tile.args[1:])) for tile in image.tile
        ]
        return np.asarray(image)                   # loads it


def _draft(image: Image.Image, min_side: int) -> None:
    """Have a JPEG decoded at a fraction that divides its size evenly, which keeps aspect ratio and edges."""
    width, height = image.size
    for scale in (8, 4, 2):
        if min(width, height) >= scale * min_side and width % scale == height % scale == 0:
            image.draft(image.mode, (width // scale, height // scale))
            return


def _check_pixels(size: tuple[int, int], limits: Limits, kind: str) -> None:
    width, height = size
    needed = width * height * PEAK_BYTES.get(kind, 7)
    if width * height > limits.pixels:
        problem = f"the image claims {width:,} x {height:,} pixels, more than the limit of {limits.pixels:,}"
        raise ImageError(problem, hint="refused before decoding; shrink the image if it is real")
    if needed > limits.memory:
        raise ImageError(
            f"the {kind} image of {width:,} x {height:,} pixels needs {needed / 2**20:,.0f} MB of memory to be "
            f"decoded, more than the limit of {limits.memory / 2**20:,.0f} MB",
            hint="shrink the image, or save it as JPEG or PNG",
        )


_SIZES = {"WebP": webp_size, "JPEG XL": jpeg_xl_size}
_filters_lock = threading.Lock()


@contextmanager
def _without_warnings(needed: bool) -> Iterator[None]:
    """Silence Pillow where ``needed``: the filters of ``warnings`` belong to all threads, so that a lock is held."""
    if not needed:
        yield
        return
    with _filters_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield

