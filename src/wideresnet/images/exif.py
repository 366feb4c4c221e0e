"""The orientation of a photograph in its EXIF block.

Pillow's reader warns about every damaged block (``Corrupt EXIF data``), even if it needs the resolution only. Warnings
cannot be silenced for one thread, so that the block is removed before Pillow sees the file.
Layout: CIPA DC-008 (Exif 2.32), sections 4.5 and 4.6.
"""

from __future__ import annotations

import struct
from contextlib import suppress

UPRIGHT = 1
_ORIENTATION, _SHORT = 0x0112, 3
_SIGNATURE = b"Exif\0\0"
_APP1, _START_OF_SCAN = 0xE1, 0xDA


def orientation(exif: bytes) -> int:
    """Return the orientation 1 .. 8 in an EXIF block; 1, upright, where it is missing or invalid."""
    block = exif.removeprefix(_SIGNATURE)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return UPRIGHT
    with suppress(struct.error):                   # an offset beyond the block
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for k in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, directory + 2 + 12 * k)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    return UPRIGHT


def split_exif(jpeg: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG file without its EXIF segments, and its first EXIF block or b"".

    Pixels do not depend on EXIF. Invalid segments are left in place.
    """
    exif = b""
    pieces = []
    begin = position = 2                           # behind the start-of-image marker
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF and jpeg[position + 1] != _START_OF_SCAN:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if jpeg[position + 1] == _APP1 and jpeg.startswith(_SIGNATURE, position + 4):
            exif = exif or jpeg[position + 4 : end]
            pieces.append(jpeg[begin:position])
            begin = end
        position = end
    if not pieces:
        return jpeg, b""
    return b"".join([jpeg[:2], *pieces, jpeg[begin:]]), exif
