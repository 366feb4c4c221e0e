"""TIFF files of every kind, written by hand: Pillow writes few of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, GREY, RGB, PALETTE = 0, 1, 2, 3
_SIZES = {1: 1, 3: 2, 4: 4}                        # bytes of the types BYTE, SHORT, LONG
_TYPE_OF = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}      # by the kind of a dtype


def tiff(
    array: np.ndarray,
    colour: int = GREY,
    *,
    order: str = "<",
    planar: bool = False,
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    raw: bytes | None = None,
) -> bytes:
    """One uncompressed strip of ``array`` [H, W, bands]; ``tags`` (type, values) go over the usual ones."""
    height, width, bands = array.shape
    ordered = array.astype(array.dtype.newbyteorder(order))
    if raw is None:
        raw = (ordered.transpose(2, 0, 1) if planar else ordered).tobytes()
    strips = bands if planar else 1
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8 * array.dtype.itemsize] * bands), 259: (3, [1]),
        262: (3, [colour]), 273: (4, [0] * strips), 277: (3, [bands]), 278: (4, [height]),
        279: (4, [len(raw) // strips] * strips), 284: (3, [1 + planar]),
        339: (3, [_TYPE_OF[array.dtype.kind]] * bands), **(tags or {}),
    }  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    begin = start + sum(_outside(type_, values) for type_, values in entries.values())
    entries[273] = (4, [begin + index * len(raw) // strips for index in range(strips)])
    directory, outside = b"", b""
    for tag, (type_, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{' BHHI'[type_]}", *values)
        directory += struct.pack(f"{order}HHI", tag, type_, len(values))
        if len(packed) > 4:
            directory += struct.pack(f"{order}I", start + len(outside))
            outside += packed + b"\0" * (len(packed) % 2)
        else:
            directory += packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + directory + struct.pack(f"{order}I", 0) + outside + raw


def _outside(type_: int, values: Sequence[int]) -> int:
    size = _SIZES[type_] * len(values)
    return size + size % 2 if size > 4 else 0
