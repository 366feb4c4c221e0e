"""The work of decoding an image, from its header, and the refusal of headers that only cost time.

Where the pixels bound the time, an image is decoded in a thread. Where they do not (unbounded scans, readers written in
Python, compression by a thousand), it is decoded in a process that can be killed: see ``images/isolated``.
"""

from __future__ import annotations

import math
import re
import struct
from itertools import islice

from wideresnet.errors import ImageError
from wideresnet.images.sniff import image_format

MAX_SCANS, MAX_CHUNKS = 1000, 100_000              # complete progressions of JPEGs have about ten scans
MAX_PPM_HEADER = 2**16                             # with comments, bytes
_HEADER, _SEGMENTS = 2**20, 1000                   # of a JPEG in a thread: Pillow reads segments in Python
_WEBP_BYTES, _WEBP_PIXELS = 2**20, 2**22           # in a thread: it takes 16 bytes a pixel
_SCAN, _PIXELS = re.compile(rb"\xff\xda"), re.compile(b"IDAT")
_COMMENT = re.compile(rb"#[^\r\n]*")


def workload(data: bytes) -> float:
    """Return the work of decoding ``data`` in pixels of a baseline JPEG; inf where the header does not bound it.

    0 for bytes that are no image. Takes microseconds, and no longer than counting bytes. Raises ImageError for a file
    of too many scans, and for a header that is too long.
    """
    kind = image_format(data)
    if kind is None:
        return 0
    if kind not in _WORKLOADS:
        return math.inf
    try:
        return _WORKLOADS[kind](data)
    except (struct.error, ValueError, IndexError):             # cut short or invalid
        return math.inf


def _jpeg(data: bytes) -> float:
    position, pixels = 2, math.inf
    for _ in range(_SEGMENTS):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFDA:
            if (scans := _count(_SCAN, data, MAX_SCANS + 1)) > MAX_SCANS:
                raise ImageError(f"the JPEG has more than {MAX_SCANS:,} scans", hint="save it as a baseline JPEG")
            return pixels * (3 + scans) / 4
        if not 0xFFC0 <= marker <= 0xFFFE or 0xFFD0 <= marker <= 0xFFD9 or position > _HEADER:
            break
        if marker in (0xFFC0, 0xFFC1, 0xFFC2):     # Huffman coding; arithmetic coding takes ten times as long
            height, width = struct.unpack_from(">HH", data, position + 5)
            pixels = width * height
        position += 2 + length
    return math.inf


def _count(pattern: re.Pattern[bytes], data: bytes, most: int) -> int:
    """Return how often ``pattern`` occurs, at most ``most`` times; bytes.count takes twice as long."""
    return sum(1 for _ in islice(pattern.finditer(data), most))


def _png(data: bytes) -> float:
    width, height, depth = map(int, struct.unpack_from(">IIB", data, 16))
    return width * height * (4 if depth == 16 else 1) + 2**9 * _count(_PIXELS, data, MAX_CHUNKS)   # read in Python


def _bmp(data: bytes) -> float:
    _, width, height, _, _, compression = struct.unpack_from("<IiiHHI", data, 14)
    return abs(width * height) if compression in (0, 3) else math.inf      # others are decoded in Python


def _ppm(data: bytes) -> float:
    for length in (2**10, MAX_PPM_HEADER):
        header = _COMMENT.sub(b"", data[:length]).split(None, 4)
        if len(header) > 3:
            plain = header[0] in (b"P5", b"P6") and header[3] == b"255"    # others are decoded in Python
            return int(header[1]) * int(header[2]) if plain else math.inf
    if len(data) > MAX_PPM_HEADER:
        raise ImageError(f"the header of the PPM is longer than {MAX_PPM_HEADER:,} bytes", hint="remove its comments")
    return math.inf


def _webp(data: bytes) -> float:
    width, height = webp_size(data)
    return 4 * width * height if width * height <= _WEBP_PIXELS and len(data) <= _WEBP_BYTES else math.inf


def webp_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) of the three kinds of WebP (RFC 9649, 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_WORKLOADS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "PPM": _ppm, "WebP": _webp}
