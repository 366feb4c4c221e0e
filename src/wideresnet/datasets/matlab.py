"""Arrays out of a MATLAB file (MAT 5, as MATLAB 5 to 2012 and SciPy write it): numbers, texts, structs of them.

SciPy would read every file of that kind; we need two, and their few types fit on a page ("MAT-File Level 5 File
Format", The MathWorks). A file is a header and elements of ``type, length, content``; a struct array is an element
of elements, usually compressed with zlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import DataError

Value = str | NDArray[np.generic] | list[dict[str, "Value"]] | None
Rows = list[dict[str, Value]]

HEADER_BYTES = 128
MOST_BYTES = 64 * 2**20                            # of what is unpacked; ImageNet's meta.mat has 4 MB
MATRIX, COMPRESSED = 14, 15                        # types of elements
STRUCT, CHAR, NUMBERS = 2, 4, range(6, 16)         # classes of matrices
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_structs(data: bytes, name: str) -> Rows:
    """The struct array ``name`` of the MAT file ``data``: a dict a struct, in the file's order.

    Texts are str, numeric arrays flat arrays in MATLAB's order; whatever else there is (cells, sparse arrays) is
    None. Raises DataError for a file that is no such file, is damaged, or has no such array.
    """
    found = _arrays(data, MOST_BYTES)
    value = found.get(name)
    if not isinstance(value, list):
        raise _absent("struct array", name, found)
    return value


def read_arrays(data: bytes, names: Iterable[str], most: int = MOST_BYTES) -> list[NDArray[np.generic]]:
    """The numeric arrays ``names`` of the MAT file ``data``, in their shapes and MATLAB's (Fortran's) memory order.

    Types are those they are stored in: MATLAB keeps whole numbers in as few bytes as they need. A compressed part of
    more than ``most`` bytes is refused. Raises DataError as ``read_structs`` does.
    """
    found, arrays = _arrays(data, most), []
    for name in names:
        value = found.get(name)
        if not isinstance(value, np.ndarray):
            raise _absent("numeric array", name, found)
        arrays.append(value)
    return arrays


def _absent(kind: str, name: str, found: dict[str, Value]) -> DataError:
    return DataError(f"the MATLAB file has no {kind} {name!r}", hint=f"it has {', '.join(found) or 'nothing'}")


def _arrays(data: bytes, most: int) -> dict[str, Value]:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER_BYTES])
    if order is None:
        raise DataError(
            "this is no MATLAB file of version 5", hint="files saved with -v7.3 are HDF5; save with -v7 instead"
        )
    try:
        return dict(_variables(memoryview(data)[HEADER_BYTES:], order, most))
    # What Python raises for a StopIteration in a generator, and for nesting without end, is a RuntimeError.
    except (ValueError, LookupError, struct.error, zlib.error, RuntimeError) as error:
        raise DataError(f"the MATLAB file is damaged: {error}", hint="fetch it again") from error


def _variables(data: memoryview, order: str, most: int) -> Iterator[tuple[str, Value]]:
    for kind, content in _elements(data, order):
        if kind == COMPRESSED:
            yield from _variables(_unpacked(content, most), order, most)
        elif kind == MATRIX:
            yield _matrix(content, order)


def _unpacked(content: memoryview, most: int) -> memoryview:
    machine = zlib.decompressobj()
    data = machine.decompress(content, most)
    if not machine.eof:
        raise ValueError(f"a compressed part is cut short, or larger than {most >> 20} MB")
    return memoryview(data)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Each element's type and content. Contents of up to 4 bytes may stand inside the tag."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            after = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError("an element reaches beyond its end")
        yield kind, data[start : start + size]
        at = after


def _matrix(content: memoryview, order: str) -> tuple[str, Value]:
    """One array: its name (empty inside a struct) and its value."""
    if not content:
        return "", None
    parts = _elements(content, order)
    kind = struct.unpack_from(f"{order}I", next(parts)[1])[0] & 0xFF
    dims = np.frombuffer(next(parts)[1], f"{order}i4").tolist()
    name = bytes(next(parts)[1]).decode("ascii")
    if kind == STRUCT:
        return name, _structs(parts, prod(dims), order)
    if kind == CHAR:
        return name, _text(*next(parts), order)
    if kind in NUMBERS:
        stored, values = next(parts)
        return name, np.frombuffer(values, f"{order}{_NUMBERS[stored]}").reshape(dims, order="F")
    return name, None


def _structs(parts: Iterator[tuple[int, memoryview]], count: int, order: str) -> Rows:
    """Field names of one width each, then every field of the first struct, of the second, ..."""
    width = struct.unpack_from(f"{order}i", next(parts)[1])[0]
    names = bytes(next(parts)[1])
    fields = [names[at : at + width].rstrip(b"\0").decode("ascii") for at in range(0, len(names), width)]
    values = [_flat(_matrix(content, order)[1]) for _, content in parts]
    if len(values) != count * len(fields):
        raise ValueError(f"{count} structs of {len(fields)} fields have {len(values)} values")
    return [dict(zip(fields, values[at : at + len(fields)], strict=True)) for at in range(0, len(values), len(fields))]


def _flat(value: Value) -> Value:
    return value.ravel(order="F") if isinstance(value, np.ndarray) else value


def _text(stored: int, content: memoryview, order: str) -> str:
    encoding = _TEXTS[stored]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    # A gloss with an odd letter is no reason to refuse the file.
    return bytes(content).decode(encoding, "replace")
