"""Files or bytes to RGB pixels: Pillow's, with a defined answer to every awkward file."""

from __future__ import annotations

import io
import logging
import re
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from wideresnet.pipes import WAIT, read_file, special_kind
from wideresnet.records import Alpha, Exif

logging.getLogger("PIL").addHandler(logging.NullHandler())     # or Python writes Pillow's errors to stderr itself


@dataclass(frozen=True)
class Limits:
    """What is refused before anything is decoded. The pixels are Pillow's own hard limit."""

    pixels: int = 178_956_970                      # 1.2 GB at the peak of decoding
    bytes: int = 256 * 2**20                       # of the encoded file


DEFAULT_LIMITS = Limits()
WARNED_PIXELS = 2**26                            # below Pillow's threshold for a warning


def _jpeg(file: io.BytesIO) -> Image.Image:
    image = JpegImagePlugin.JpegImageFile(file)
    # All in one piece: near the end of each piece libjpeg decodes slowly, and pieces of 64 KB cost 2 to 4 %.
    image.decodermaxblock = file.getbuffer().nbytes
    return image


def _png(file: io.BytesIO) -> Image.Image:
    data = file.getvalue()
    image = PngImagePlugin.PngImageFile(io.BytesIO(pixel_chunks(data)))
    image.info["bits"] = significant_bits(data) % 16
    factor = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args) if image.tile else "")
    if factor and "transparency" in image.info:    # the file's number, while Pillow spreads the pixels over 8 bits
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
        # More than 8 bits of a colour Pillow rounds to 8 without a limit: white becomes black.
        if bands > 4 or depth > (16 if bands == 1 else 8):
            raise ImageError(
                f"the JPEG 2000 file holds numbers of {depth} bits (bands: {bands}), which is not read",
                hint=conversion(0, 2**depth - 1, bands),
            )
        stated = 16 * (depth < 16)                 # scaled by Pillow
    image = Jpeg2KImagePlugin.Jpeg2KImageFile(file)
    image.info["bits"] = stated
    return image


# The classes themselves, not Image.open: it would try thirty formats more (EPS starts Ghostscript),
# and it warns of sizes that we allow.
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
_TURNED = ("TIFF", "HEIC", "JPEG XL")                # upright by their readers, whatever is asked for
# What Pillow says of files that are complete, and of a kind that it does not read.
_UNREAD = re.compile(r"cannot handle|unsupported|not supported|not installed|not available|unable to determine", re.I)
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
    """An image file, or its bytes -> RGB uint8 [H, W, 3] in 0..255, not writeable.

    The pixels of Pillow's ``Image.open(...).convert("RGB")``: an animation gives its first frame, the name's ending
    says nothing. Only more than 8 bits differ: see ``images/rgb`` for what each type of numbers becomes.
    ``alpha``: what becomes of transparency: dropped, or laid on white.
    ``exif="transpose"`` turns a photograph upright; damaged EXIF counts as upright.

    Gives no warnings, changes no state of Pillow, and may run in many threads. Raises ImageError
    for what can't be read, isn't an image, is damaged or cut short, exceeds ``limits``, or holds
    numbers that are no brightness.
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
    """``decode``, but as a loaded Pillow image in mode RGB.

    For who resizes it next: the array alone takes as long as the decoding of a large photograph. With
    ``min_side`` a JPEG is decoded at a half, a quarter or an eighth of its sides (libjpeg then skips most of the
    arithmetic) as long as they divide evenly and the shorter one keeps so many pixels; 0: always whole.
    """
    data = source if isinstance(source, bytes) else read_encoded(source, limits)
    if len(data) > limits.bytes:
        raise _too_many_bytes(limits)
    kind = image_format(data)
    if kind is None:
        found = no_image(data)
        raise ImageError(f"not an image but {found.what}", hint=found.hint)
    try:
        return _open(data, kind, exif, alpha, limits, min_side)
    except ImageError:
        raise
    except Exception as error:
        # Readers of foreign bytes fail with whatever their arithmetic ran into: OSError, SyntaxError,
        # ValueError, struct.error, zlib.error, MemoryError...
        if isinstance(error, MemoryError):
            raise ImageError(f"the {kind} image needs more memory than there is", hint="shrink it") from error
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if _UNREAD.search(reason):
            raise ImageError(f"a {kind} image of a kind that is not read: {reason}", hint=CONVERT) from error
        raise ImageError(
            f"damaged {kind} image: {reason}",
            hint=f"{len(data):,} bytes are there; the file may be cut short: fetch it again",
        ) from error


def read_encoded(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of an image file or pipe. Raises ImageError for what cannot be read or exceeds ``limits``."""
    try:
        if path.stat().st_size > limits.bytes:
            raise _too_many_bytes(limits)
        return read_file(path, limits.bytes + 1)   # a pipe has no size, and some devices no end
    except IsADirectoryError as error:
        raise ImageError("not an image but a folder") from error
    except FileNotFoundError as error:
        raise ImageError("no such file", hint="it was moved or deleted, or is a link to nowhere") from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:                    # a zero byte in the name
        raise ImageError(f"cannot be read: {error}") from error


def read_regular(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """``read_encoded`` for files that a folder or a list names: pipes, sockets and devices are not opened."""
    if kind := special_kind(path):
        hint = f"a pipe is read where you name it yourself and data come within {WAIT:g} s" if "pipe" in kind else ""
        raise ImageError(f"not a regular file: {kind}", hint or "move it away")
    return read_encoded(path, limits)


def _too_many_bytes(limits: Limits) -> ImageError:
    return ImageError(
        f"the file is larger than the limit of {limits.bytes:,} bytes", hint="shrink the image"
    )


def _open(data: bytes, kind: str, exif: Exif, alpha: Alpha, limits: Limits, min_side: int) -> Image.Image:
    block = b""
    if kind == "JPEG":
        data, block = split_exif(data)
    elif kind in _SIZES:                           # their readers allocate the canvas when they open
        _check_pixels(_SIZES[kind](data), limits)
    with _quietly(kind in ("TIFF", "GIF")):        # of bad tags and sizes
        image = _READERS[kind](io.BytesIO(data))
    _check_pixels(image.size, limits)
    if kind == "JPEG" and min_side:
        _draft(image, min_side)
    deep = _has_deep_colours(image)
    with _quietly(kind == "TIFF" and image.width * image.height > WARNED_PIXELS):
        image.load()
    block = block or image.info.get("exif") or b""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image = grey_in_8_bits(image)
    if deep:
        image = _deep_colours(image, data, kind, alpha)
    if exif == "transpose" and kind not in _TURNED and (turn := orientation(block)) != UPRIGHT:
        image = image.transpose(TURNS[turn])
    return to_rgb(image, alpha)


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether the file has colours of 16 bits, of which Pillow is going to keep the high byte."""
    tiles = getattr(image, "tile", ()) if len(image.getbands()) > 1 else ()
    return any(";16" in str(args) or (name.startswith("ppm") and args[-1] > 255) for name, _, _, args in tiles)


def _deep_colours(image: Image.Image, data: bytes, kind: str, alpha: Alpha) -> Image.Image:
    """A loaded image of 16-bit colours, of which Pillow keeps the high byte -> by the table of ``images/rgb``.

    All 16 bits count where the high byte may not say enough: a reader of the other byte order gives the low one.
    """
    high, bits = np.array(image), image.info.get("bits", 0)
    key = image.info.get("transparency") if alpha == "white" else None
    if (key is None and high[..., :3].max() >= 2 ** (bits or 12) / 256) or (low := _low_bytes(data, kind)) is None:
        check_steps(high[..., :3], bits)
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
    """The low bytes of 16-bit colours; None where Pillow has no way to read them."""
    with _quietly(kind == "TIFF"):
        image: Any = _READERS[kind](io.BytesIO(data))
        args = image.tile[0].args
        rawmode, *others = (args,) if isinstance(args, str) else args
        if not re.fullmatch(r"RGB[AX]?;16[BLN]", rawmode):
            return None
        rawmode = rawmode[:-1] + _OTHER_ORDER[rawmode[-1]]
        image.tile = [tile._replace(args=(rawmode, *tile.args[1:]) if others else rawmode) for tile in image.tile]
        return np.asarray(image)                   # which loads it


def _draft(image: Image.Image, min_side: int) -> None:
    """Have a JPEG decoded at a part of its size. An even division keeps aspect ratio and edges where they are."""
    width, height = image.size
    for scale in (8, 4, 2):
        if min(width, height) >= scale * min_side and width % scale == height % scale == 0:
            image.draft(image.mode, (width // scale, height // scale))
            return


def _check_pixels(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.pixels:
        raise ImageError(
            f"the image claims {width:,} x {height:,} pixels, more than the limit of {limits.pixels:,}",
            hint="refused before decoding; shrink the image if it is real",
        )


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) of the three kinds of WebP (RFC 9649, 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_SIZES = {"WebP": _webp_size, "JPEG XL": jpeg_xl_size}
_filters_lock = threading.Lock()


@contextmanager
def _quietly(needed: bool) -> Iterator[None]:
    """Silence Pillow. The filters of ``warnings`` belong to all threads: only where it is needed."""
    if not needed:
        yield
        return
    with _filters_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield

