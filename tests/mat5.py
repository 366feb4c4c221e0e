"""Writes MATLAB files of version 5 by the book, for tests: a struct array of texts and numbers, or plain numbers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Cell = str | int | float | None


def write_structs(
    name: str, rows: Sequence[dict[str, Cell]], *, order: str = "<", compressed: bool = True, small: bool = True
) -> bytes:
    """``rows`` as an array of [N, 1]; None is a cell array. ``small``: short contents stand inside their tags."""
    writer = _Writer(order, small)
    fields = list(rows[0])
    names = b"".join(field.encode().ljust(32, b"\0") for field in fields)
    body = writer.head(2, (len(rows), 1), name) + writer.element(5, struct.pack(f"{order}i", 32))
    body += writer.element(1, names) + b"".join(writer.cell(row[field]) for row in rows for field in fields)
    return _file(order, writer.variable(body, compressed))


def write_arrays(arrays: Mapping[str, NDArray[np.generic]], *, order: str = "<", compressed: bool = True) -> bytes:
    """Numeric arrays of any shape, columns first, of the class and in the type that they have."""
    writer = _Writer(order, small=True)
    variables = b""
    for name, array in arrays.items():
        class_, kind = _NUMERIC[array.dtype.str[1:]]
        stored = array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
        variables += writer.variable(writer.head(class_, array.shape, name) + writer.element(kind, stored), compressed)
    return _file(order, variables)


_NUMERIC = {"u1": (9, 2), "i1": (8, 1), "i4": (12, 5), "f4": (7, 7), "f8": (6, 9)}    # dtype -> class, type


def _file(order: str, variables: bytes) -> bytes:
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark + variables


class _Writer:
    def __init__(self, order: str, small: bool) -> None:
        self.order, self.small = order, small

    def element(self, kind: int, content: bytes) -> bytes:
        if self.small and kind != 14 and 0 < len(content) <= 4:
            return struct.pack(f"{self.order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
        padding = b"\0" * (-len(content) % 8)
        return struct.pack(f"{self.order}II", kind, len(content)) + content + padding

    def variable(self, body: bytes, compressed: bool) -> bytes:
        element = self.element(14, body)
        if not compressed:
            return element
        packed = zlib.compress(element)
        return struct.pack(f"{self.order}II", 15, len(packed)) + packed

    def head(self, class_: int, dims: tuple[int, ...], name: str = "") -> bytes:
        flags = self.element(6, struct.pack(f"{self.order}II", class_, 0))
        return flags + self.element(5, struct.pack(f"{self.order}{len(dims)}i", *dims)) + self.element(1, name.encode())

    def cell(self, value: Cell) -> bytes:
        """One field. Texts are UTF-16, as MATLAB writes them; whole numbers take as few bytes as they can."""
        if value is None:
            return self.element(14, self.head(1, (0, 0)))
        if isinstance(value, str):
            text = value.encode("utf-16-le" if self.order == "<" else "utf-16-be")
            return self.element(14, self.head(4, (1, len(value))) + self.element(4, text))
        if isinstance(value, float):
            return self.element(14, self.head(6, (1, 1)) + self.element(9, struct.pack(f"{self.order}d", value)))
        kind, letter = (2, "B") if value < 256 else (4, "H")
        return self.element(14, self.head(6, (1, 1)) + self.element(kind, struct.pack(f"{self.order}{letter}", value)))
