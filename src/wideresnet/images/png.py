"""PNG files without texts and profiles: Pillow refuses files where these are large or damaged.

Layout: PNG specification (third edition), 5.3 and 11.2 to 11.3.
"""

from __future__ import annotations

import re

from wideresnet.errors import ImageError
from wideresnet.images.workload import MAX_CHUNKS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = (b"tRNS", b"eXIf")                       # of the ancillary chunks, whose names begin in lower case
_LOWER = 0x20
_SIGNIFICANT = re.compile(rb"\0\0\0([\1-\4])sBIT([\1-\x10]{1,4})")


def pixel_chunks(png: bytes) -> bytes:
    """Return a PNG file without ancillary chunks except transparency and EXIF.

    Pixels do not depend on the others. An animation becomes its default image, the first frame. Invalid chunks are
    left in place. Raises ImageError for more than ``MAX_CHUNKS`` chunks.
    """
    pieces, chunks = [], 0
    begin = position = len(SIGNATURE)
    while position + 12 <= len(png):
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise ImageError(f"the PNG has more than {MAX_CHUNKS:,} chunks", hint="save it again")
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        name = png[position + 4 : position + 8]
        if name[0] & _LOWER and name not in _NEEDED:
            pieces.append(png[begin:position])
            begin = end
        position = end
    return b"".join([SIGNATURE, *pieces, png[begin:]]) if pieces else png


def significant_bits(png: bytes) -> int:
    """Return the bits that the file states for its samples (chunk sBIT), the maximum of all bands; 0: none."""
    stated = _SIGNIFICANT.search(png[: png.find(b"IDAT")])
    return max(stated[2][: stated[1][0]]) if stated else 0
