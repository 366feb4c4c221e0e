"""Numbers as weights files store them, their conversion, and errors that name the file."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wideresnet import unpickle
from wideresnet.errors import WeightsError, errors_as

# What zipfile, struct and NumPy raise on a file that is cut, changed, encrypted or nonsense.
DAMAGE: Final = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, TokenError, *unpickle.DAMAGE)


@contextmanager
def file_named(name: str) -> Iterator[None]:
    """Put the name of the file before a WeightsError, and turn what damage raises into one."""
    damaged = errors_as(DAMAGE, WeightsError, f"{name} is damaged", hint=unpickle.DAMAGED)
    with damaged, errors_as(WeightsError, WeightsError, name):
        yield


def to_float32(raw: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Convert numbers of ``dtype`` (bfloat16 as its 16 bits in unsigned integers) to float32; integers stay.

    Always a C-contiguous copy in the byte order of this machine.
    """
    if dtype == "bfloat16":
        return (raw.astype(np.uint32, order="C") << 16).view(np.float32)
    if dtype.startswith("float"):
        with np.errstate(over="ignore"):
            return raw.astype(np.float32, order="C")
    return raw.astype(raw.dtype.newbyteorder("="), order="C")


def raw_dtype(dtype: str) -> np.dtype[Any]:
    """Return the NumPy dtype that the bytes of ``dtype`` are read as."""
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)
