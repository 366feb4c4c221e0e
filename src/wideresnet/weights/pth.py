"""Read files of ``torch.save`` without torch and without running anything in the file.

Two formats, told apart by content:

- since torch 1.6 a zip archive: ``NAME/data.pkl`` (the structure), ``NAME/data/KEY`` (raw numbers, stored
  uncompressed), ``NAME/byteorder``;
- before, and with ``_use_new_zipfile_serialization=False``: five pickles in a row (magic number, protocol,
  system, the structure, the list of storage keys), then for each key its length (int64) and raw numbers.

``unpickle`` decodes the structure; here its storages become NumPy arrays, with every bound checked.
"""

from __future__ import annotations

import io
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import WeightsError
from wideresnet.unpickle import DAMAGED, MAX_PICKLE_BYTES, SAVE_AGAIN, load_pickle
from wideresnet.unpickle.values import StoredTensor
from wideresnet.weights.raw import raw_dtype

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION: Final = 1001

# Views may share numbers (tied weights) or repeat them (stride 0), so a small file could claim to be huge.
MAX_EXPANSION: Final = 8


@dataclass(frozen=True)
class Checkpoint:
    """An open file: its structure, and a reader of a storage's numbers by key."""

    root: Any
    numbers: Callable[[str], memoryview]
    byteorder: Literal["<", ">"]                   # of those numbers


def open_pth(file: BinaryIO, data: mmap.mmap) -> Checkpoint:
    """Decode the structure of a file of ``torch.save`` of any age, mapped as ``data``. Raises what damage raises."""
    limit = MAX_PICKLE_BYTES + 2 * len(data)       # of a pickle and its copies: arrays, unlike tensors, lie inside
    return _open_zip(file, data, limit) if data[:4] == b"PK\x03\x04" else _open_legacy(data, limit)


def _open_zip(file: BinaryIO, data: mmap.mmap, limit: int) -> Checkpoint:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    structures = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if any(name.endswith("constants.pkl") for name in entries):
        raise WeightsError("this is a TorchScript program, not a weights file", hint="save model.state_dict() instead")
    if len(structures) != 1:
        raise WeightsError("this zip archive is no file of torch.save", hint="unzip it and give the file inside")
    prefix = structures[0].removesuffix("data.pkl")
    inside = [entry for name, entry in entries.items() if name.startswith(prefix)]
    # torch does not compress: what is compressed may be a bomb. Entries may overlap in a hostile archive.
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in inside)
    if compressed or sum(entry.file_size for entry in inside) > len(data):
        raise WeightsError("refused: an entry of the archive is compressed, or larger than the archive", SAVE_AGAIN)

    @cache
    def stored(name: str) -> memoryview:
        """Return the bytes of an entry, CRC checked."""
        entry = entries.get(prefix + name)
        if entry is None:
            raise WeightsError(f"the archive lacks {name}", hint=DAMAGED)
        name_bytes, extra_bytes = struct.unpack_from("<HH", data, entry.header_offset + 26)
        start = entry.header_offset + 30 + name_bytes + extra_bytes
        content = memoryview(data)[start : start + entry.file_size]
        # Zero stands where torch.serialization.set_crc32_options(False) left it out.
        if len(content) < entry.file_size or entry.CRC not in (0, zlib.crc32(content)):
            raise WeightsError(f"the checksum of {name} is wrong", hint=DAMAGED)
        return content

    root = load_pickle(io.BytesIO(stored("data.pkl")), limit=limit).value
    big = prefix + "byteorder" in entries and bytes(stored("byteorder")) == b"big"
    return Checkpoint(root, lambda key: stored(f"data/{key}"), ">" if big else "<")


def _open_legacy(data: mmap.mmap, limit: int) -> Checkpoint:
    first = load_pickle(data, limit=limit).value
    if first != MAGIC_NUMBER:                      # of pickle.dump: there may be arrays, but no storages
        return Checkpoint(first, lambda key: memoryview(b""), "<")
    protocol, system = load_pickle(data).value, load_pickle(data).value
    if protocol != PROTOCOL_VERSION or not isinstance(system, dict) or not system.get("little_endian", True):
        raise WeightsError("this old torch file is of an unknown version or from a big-endian machine", hint=SAVE_AGAIN)
    root, storages = load_pickle(data)
    keys = load_pickle(data).value
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        raise WeightsError("the list of storages does not fit the structure", hint=DAMAGED)
    contents: dict[str, memoryview] = {}
    position = data.tell()
    for key in keys:
        numel = int.from_bytes(data[position : position + 8], "little", signed=True)
        end = position + 8 + numel * raw_dtype(storages[key]).itemsize
        if numel < 0 or end > len(data):
            raise WeightsError("the file ends before its last tensor does", hint=DAMAGED)
        contents[key] = memoryview(data)[position + 8 : end]
        position = end
    return Checkpoint(root, contents.__getitem__, "<")


def check_expansion(tensors: Iterable[StoredTensor], file_bytes: int) -> None:
    """Raise WeightsError where the tensors are said to have far more numbers than the file."""
    sizes = (math.prod(tensor.shape) * raw_dtype(tensor.storage.dtype).itemsize for tensor in set(tensors))
    if sum(sizes) > MAX_EXPANSION * file_bytes:
        raise WeightsError("refused: the tensors are said to be far larger than the file", hint=SAVE_AGAIN)


def read_tensor(name: str, tensor: StoredTensor, checkpoint: Checkpoint) -> NDArray[Any]:
    """Return a view of the numbers of ``tensor``, bfloat16 as unsigned integers. Raises WeightsError."""
    storage, raw = tensor.storage, raw_dtype(tensor.storage.dtype).newbyteorder(checkpoint.byteorder)
    numbers = checkpoint.numbers(storage.key)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    empty = 0 in tensor.shape
    if (storage.start + storage.numel) * raw.itemsize > len(numbers) or not (empty or last < storage.numel):
        raise WeightsError(f"tensor {name!r} reaches beyond its storage", hint=DAMAGED)
    if empty:
        return np.empty(tensor.shape, raw)
    base = np.frombuffer(numbers, raw, storage.numel, storage.start * raw.itemsize)
    # A stride along a side of 1 means nothing and may be any number.
    steps = [step * raw.itemsize if n > 1 else 0 for n, step in zip(tensor.shape, tensor.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(base[tensor.offset :], tensor.shape, steps, writeable=False)
