"""The one thing we want of EXIF: which way up a photograph is.

Pillow's own reader warns about every damaged block (``Corrupt EXIF data``), also when it only wanted
the resolution. Warnings can't be silenced for one thread, so the block never reaches Pillow.
Layout: CIPA DC-008 (Exif 2.32), sections 4.5 and 4.6.
"""

from __future__ import annotations

import struct

UPRIGHT = 1
_ORIENTATION, _SHORT = 0x0112, 3
_SIGNATURE = b"Exif\0\0"
_APP1, _START_OF_SCAN = 0xE1, 0xDA


def orientation(exif: bytes) -> int:
    """The orientation 1 .. 8 stated by an EXIF block; 1, upright, when it is absent or garbage."""
    block = exif.removeprefix(_SIGNATURE)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (entries,) = struct.unpack_from(f"{order}H", block, directory)
        for k in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, directory + 2 + 12 * k)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else UPRIGHT
    except struct.error:                           # an offset beyond the block
        return UPRIGHT
    return UPRIGHT


def split_exif(jpeg: bytes) -> tuple[bytes, bytes]:
    """A JPEG file -> (the file without its EXIF segments, the first EXIF block or b"").

    No pixel depends on EXIF. Anything that isn't laid out as it should be is left as it is.
    """
    exif = b""
    kept = []
    begin = position = 2                           # behind the start-of-image marker
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF and jpeg[position + 1] != _START_OF_SCAN:
        end = position + 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if jpeg[position + 1] == _APP1 and jpeg.startswith(_SIGNATURE, position + 4):
            exif = exif or jpeg[position + 4 : end]
            kept.append(jpeg[begin:position])
            begin = end
        position = end
    if not kept:
        return jpeg, b""
    return b"".join([jpeg[:2], *kept, jpeg[begin:]]), exif
