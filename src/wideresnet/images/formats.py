"""HEIC and JPEG XL, which Pillow does not read, through packages of the extra ``formats``."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from wideresnet.errors import ImageError, needs_extra
from wideresnet.images.rgb import eight_bits

# At the beginning of the file, or of the first box that holds one.
_CODESTREAM = re.compile(rb"(?:\A|jxlc|jxlp.{4})\xff\x0a", re.DOTALL)
_OVERSHOOT = 0.1                                   # of floats beyond 0..1 by lossy compression; clipped
# Aspect ratios by their code, where no width is stored.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def open_heic(file: io.BytesIO) -> Image.Image:
    """Open the primary image of a HEIF file in 8 bits, not loaded yet; libheif turns it upright.

    Raises ImageError without the package.
    """
    with needs_extra("a HEIC image", "formats", ImageError):     # one file of many cannot be read
        from pillow_heif import HeifImageFile
    return HeifImageFile(file)                     # the class alone: nothing is registered with Pillow


def open_jpeg_xl(file: io.BytesIO) -> Image.Image:
    """Decode the first frame of a JPEG XL file in 8 bits; libjxl turns it upright. Raises ImageError."""
    with needs_extra("a JPEG XL image", "formats", ImageError):
        from imagecodecs import jpegxl_decode
    data = file.getvalue()
    values = np.asarray(jpegxl_decode(data, index=0, numthreads=1))
    depth = _Header(data).depth
    if values.dtype.kind == "f":
        nominal = values.clip(0, 1)
        if np.abs(values - nominal).max() <= _OVERSHOOT:       # never true of NaN
            values = nominal
    elif not depth:
        raise ImageError("the JPEG XL image has a preview, which is not supported", "save it as PNG")
    elif depth < 8:                                # integers in the stored range
        white = 2**depth - 1
        values = np.rint(np.minimum(values, white) * (255 / white)).astype(np.uint8)
    if values.ndim == 3 and values.shape[2] in (2, 4):         # opaque pixels may be black
        colours, alpha = eight_bits(values[..., :-1], depth % 16), eight_bits(values[..., -1:], depth or 16)
        return Image.fromarray(np.concatenate([colours, alpha], axis=2))
    return Image.fromarray(eight_bits(values, depth % 16))


def jpeg_xl_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of a JPEG XL file, from its first bytes."""
    return _Header(data).size


class _Header:
    """The size and depth that a JPEG XL codestream begins with (ISO/IEC 18181-1, annex D)."""

    def __init__(self, data: bytes) -> None:
        begin = _CODESTREAM.search(data)
        self._bits = int.from_bytes(data[begin.end() :][:64] if begin else b"", "little")
        self.size = self._size()
        self.depth = 8 if self._take(1) else self._depth()     # bits a colour; 0: unknown

    def _take(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def _size(self) -> tuple[int, int]:
        small = self._take(1)
        height = self._side(small)
        ratio = self._take(3)
        across, down = _RATIOS[ratio - 1]
        return height * across // down if ratio else self._side(small), height

    def _side(self, small: int) -> int:
        return 8 * (1 + self._take(5)) if small else 1 + self._take((9, 13, 18, 30)[self._take(2)])

    def _depth(self) -> int:
        if self._take(1):                          # more fields than bit depth and colours
            self._take(3)                          # orientation
            if self._take(1):
                self._size()                       # intrinsic
            if self._take(1):                      # a preview
                return 0
            if self._take(1):                      # an animation: ticks per second (a fraction), loops, time codes
                for widths in ((0, 0, 10, 30), (0, 0, 8, 10), (0, 3, 16, 32)):
                    self._take(widths[self._take(2)])
                self._take(1)
        if self._take(1):                          # floats
            return 0
        code = self._take(2)
        return 1 + self._take(6) if code == 3 else (8, 10, 12)[code]
