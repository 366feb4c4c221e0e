"""NumPy arrays in pickles: the globals that rebuild them, as pure functions over bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass
class ArrayType:
    """A NumPy dtype of plain numbers, by code ("u1", "i8", …) and byte order."""

    code: str
    order: str = "|"

    def set_state(self, _version: Any, order: Any, *_rest: Any) -> None:
        """Apply the pickle's BUILD: the byte order."""
        self.order = order


@dataclass
class StoredArray:
    """A NumPy array, empty until the pickle's BUILD brings its numbers."""

    values: NDArray[np.generic]

    def set_state(self, _version: Any, shape: Any, kind: Any, fortran: Any, numbers: Any) -> None:
        """Apply the pickle's BUILD."""
        self.values = _from_buffer(numbers, kind, shape, "F" if fortran else "C").values


def _from_buffer(numbers: Any, kind: Any, shape: Any, order: Literal["C", "F"] = "C") -> StoredArray:
    """``numpy._core.numeric._frombuffer``: a view, nothing is copied. Python 2 wrote the numbers as text."""
    if not isinstance(kind, ArrayType) or kind.order not in ("|", "<", ">", "="):
        raise TypeError("an array that is not of plain numbers")
    if isinstance(numbers, str):
        numbers = numbers.encode("latin-1")
    return StoredArray(np.frombuffer(numbers, np.dtype(kind.order + kind.code)).reshape(shape, order=order))


def _empty(_class: Any, _shape: Any, _kind: Any) -> StoredArray:
    """``numpy._core.multiarray._reconstruct``"""
    return StoredArray(np.empty(0, np.uint8))


def _array_type(code: Any, *_flags: Any) -> ArrayType:
    """``numpy.dtype``"""
    if not isinstance(code, str) or not re.fullmatch("[biuf][1248]", code):
        raise TypeError("an array that is not of plain numbers")
    return ArrayType(code)


def _scalar(kind: Any, numbers: Any = b"") -> Any:
    """``numpy._core.multiarray.scalar``: a number of Python."""
    return _from_buffer(numbers, kind, ()).values.item()


def _encoded(text: Any = "", encoding: Any = "latin1") -> bytes:
    """``_codecs.encode`` and ``bytes``: how protocol 2 of Python 3 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes made of something that is no text in Latin-1")
    return text.encode("latin-1")


ARRAY_BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    "numpy.dtype": _array_type,
    **dict.fromkeys(("_codecs.encode", "__builtin__.bytes", "builtins.bytes"), _encoded),
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), _empty),
    **dict.fromkeys(("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"), _scalar),
    **dict.fromkeys(("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"), _from_buffer),
}
