"""The values of a decoded pickle, beside dicts, lists, tuples, texts and numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StorageType:
    """The type of a storage's numbers, by torch's name (``torch.FloatStorage`` and its like)."""

    dtype: str                                     # "float32", "bfloat16", …


@dataclass(frozen=True)
class Storage:
    """A sequence of ``numel`` numbers in the file, ``start`` numbers after the beginning of record ``key``."""

    key: str
    dtype: str
    numel: int
    start: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it: offset, shape and strides in elements of its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Unordered(list[Any]):
    """The elements of a set, in no order that means anything."""


@dataclass(eq=False, slots=True)
class Opaque:
    """A class, a function, or the value that calling it would give: its name and what the pickle puts into it.

    ``parts`` are, in the order of the pickle: the tuple of arguments, a list for elements, a dict for items, and the
    state, which is a dict of attributes or a tuple with one. Nothing is copied.
    """

    name: str                                      # of the class or function: "argparse.Namespace"
    parts: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Builder:
    """A global of Python, torch or NumPy that a pure function of this package replaces."""

    name: str
    build: Callable[..., Any]
