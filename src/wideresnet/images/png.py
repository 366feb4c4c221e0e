"""PNG without what is no pixel: Pillow refuses files whose texts and profiles are large or damaged.

Layout: PNG specification (third edition), 5.3 and 11.2 to 11.3.
"""

from __future__ import annotations

import re

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"tRNS", b"eXIf")                         # of the ancillary chunks, whose names begin in lower case
_LOWER = 0x20
_SIGNIFICANT = re.compile(rb"\0\0\0([\1-\4])sBIT([\1-\x10]{1,4})")


def pixel_chunks(png: bytes) -> bytes:
    """A PNG file -> the file without ancillary chunks, but for transparency and EXIF.

    No pixel depends on the others. Of an animation its default image is left, the first frame. What is not laid out
    as it should be stays as it is.
    """
    kept = []
    begin = position = len(SIGNATURE)
    while position + 12 <= len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4], "big")
        name = png[position + 4 : position + 8]
        if name[0] & _LOWER and name not in _KEPT:
            kept.append(png[begin:position])
            begin = end
        position = end
    return b"".join([SIGNATURE, *kept, png[begin:]]) if kept else png


def significant_bits(png: bytes) -> int:
    """The bits that the file states for its samples (chunk sBIT, before the pixels), the most of any band; 0: none."""
    stated = _SIGNIFICANT.search(png[: png.find(b"IDAT")])
    return max(stated[2][: stated[1][0]]) if stated else 0
