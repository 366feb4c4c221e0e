"""Numeric arrays, texts and struct arrays in MATLAB files of version 5 to 7 ("MAT-File Level 5 File Format").

A file is a header and elements of ``type, length, content``, usually compressed with zlib; an array is an element of
elements. The files come from strangers, and SciPy's reader ends the process on a damaged one (see
docs/decisions/log.md): this reader checks every length and needs two kinds of file only, SVHN's and ImageNet's
``meta.mat``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import DataError, errors_as

Value = str | NDArray[np.generic] | list[dict[str, "Value"]] | None
StructArray = list[dict[str, Value]]
Variable = TypeVar("Variable")

HEADER_BYTES = 128
MAX_BYTES = 64 * 2**20                             # of an unpacked element; ImageNet's meta.mat has 4 MB
MATRIX, COMPRESSED = 14, 15                        # types of elements
STRUCT, CHAR, NUMERIC = 2, 4, range(6, 16)         # classes of arrays
# By type of element: dtypes and encodings.
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_structs(data: bytes, name: str) -> StructArray:
    """Return the struct array ``name`` of the MAT file ``data``: a dict for each struct, in the file's order.

    Texts are str, numeric arrays are flat and in MATLAB's order; anything else (cells, sparse arrays) is None. Raises
    DataError for a file that is not a MAT file, is damaged, or has no such array.
    """
    return _find(_read_variables(data, MAX_BYTES), name, list, "struct array")


def read_arrays(data: bytes, names: Iterable[str], max_bytes: int = MAX_BYTES) -> list[NDArray[np.generic]]:
    """Return the numeric arrays ``names`` of the MAT file ``data``, in their shapes and MATLAB's (Fortran's) order.

    Each has the type it is stored in: MATLAB stores integers in as few bytes as they need. A compressed element of more
    than ``max_bytes`` is an error. Raises DataError as ``read_structs`` does.
    """
    variables = _read_variables(data, max_bytes)
    return [_find(variables, name, np.ndarray, "numeric array") for name in names]


def _find(variables: Mapping[str, Value], name: str, kind: type[Variable], noun: str) -> Variable:
    """Return the variable ``name``. Raises DataError unless there is one of this kind."""
    value = variables.get(name)
    if not isinstance(value, kind):
        raise DataError(f"the MATLAB file has no {noun} {name!r}", f"it has {', '.join(variables) or 'nothing'}")
    return value


def _read_variables(data: bytes, max_bytes: int) -> dict[str, Value]:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER_BYTES])
    if order is None:
        problem = "this is not a MATLAB file of version 5"
        raise DataError(problem, hint="files saved with -v7.3 are HDF5; save with -v7 instead")
    # Python raises RuntimeError for a StopIteration in a generator, and for too deep a recursion.
    damage = (ValueError, LookupError, struct.error, zlib.error, RuntimeError)
    with errors_as(damage, DataError, "the MATLAB file is damaged", hint="fetch it again"):
        return dict(_variables(memoryview(data)[HEADER_BYTES:], order, max_bytes))


def _variables(data: memoryview, order: str, max_bytes: int) -> Iterator[tuple[str, Value]]:
    for kind, content in _elements(data, order):
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            unpacked = stream.decompress(content, max_bytes)
            if not stream.eof:
                raise ValueError(f"a compressed part is cut short, or larger than {max_bytes >> 20} MB")
            yield from _variables(memoryview(unpacked), order, max_bytes)
        elif kind == MATRIX:
            yield _read_array(content, order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and content of each element. Contents of up to 4 bytes may be inside the tag."""
    position = 0
    while position < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, position)
        if kind >> 16:
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
        else:
            start = position + 8
            end = start + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError("an element reaches beyond its end")
        yield kind, data[start : start + size]
        position = end


def _read_array(content: memoryview, order: str) -> tuple[str, Value]:
    """Read the name of an array (empty inside a struct) and its value."""
    if not content:
        return "", None
    elements = _elements(content, order)
    kind = struct.unpack_from(f"{order}I", next(elements)[1])[0] & 0xFF
    shape = np.frombuffer(next(elements)[1], f"{order}i4").tolist()
    name = bytes(next(elements)[1]).decode("ascii")
    if kind == STRUCT:
        return name, _read_structs(elements, prod(shape), order)
    if kind == CHAR:
        return name, _decode_text(*next(elements), order)
    if kind in NUMERIC:
        stored, values = next(elements)
        return name, np.frombuffer(values, f"{order}{_NUMBERS[stored]}").reshape(shape, order="F")
    return name, None


def _read_structs(elements: Iterator[tuple[int, memoryview]], count: int, order: str) -> StructArray:
    """Read field names of equal width, then all fields of the first struct, of the second, ..."""
    width = struct.unpack_from(f"{order}i", next(elements)[1])[0]
    names = bytes(next(elements)[1])
    fields = [names[start : start + width].rstrip(b"\0").decode("ascii") for start in range(0, len(names), width)]
    values = [_flat(_read_array(content, order)[1]) for _, content in elements]
    if len(values) != count * len(fields):
        raise ValueError(f"{count} structs of {len(fields)} fields have {len(values)} values")
    return [dict(zip(fields, row, strict=True)) for row in zip(*[iter(values)] * len(fields), strict=True)]


def _flat(value: Value) -> Value:
    return value.ravel(order="F") if isinstance(value, np.ndarray) else value


def _decode_text(stored: int, content: memoryview, order: str) -> str:
    encoding = _TEXTS[stored]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    # A gloss with an invalid letter is not a reason to refuse the file.
    return bytes(content).decode(encoding, "replace")
