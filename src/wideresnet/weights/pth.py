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
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import WeightsError
from wideresnet.unpickle import MAX_PICKLE_BYTES, StoredTensor, load_pickle

ByteOrder = Literal["<", ">"]

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION: Final = 1001

# Where training scripts put the weights in a checkpoint, best first. The moving average comes before the
# weights it averages: who keeps one evaluates with it (timm's and torchvision's scripts do).
WRAPPERS: Final = (
    "ema", "model_ema", "state_dict_ema", "ema_state_dict", "state_dict", "model_state_dict", "model",
    "net", "network", "module", "weights", "params",
)  # fmt: skip

# Views may share numbers (tied weights) or repeat them (stride 0), so a small file could claim to be huge.
MAX_EXPANSION: Final = 8

# What zipfile and NumPy raise on a file that is cut, changed, encrypted or nonsense.
DAMAGE: Final = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError, MemoryError)

DAMAGED: Final = "fetch or copy it again; a whole file opens with torch.load(..., weights_only=True)"


@dataclass(frozen=True)
class _Checkpoint:
    """A decoded file: its structure, and a reader of a storage's numbers by key."""

    root: Any
    numbers: Callable[[str], bytes]
    byteorder: ByteOrder                           # of those numbers


def read_pth(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    """Read the tensors of a checkpoint by name, in its order, and the name of their wrapper ("" if none).

    Floating tensors become float32, integers stay. Raises WeightsError.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    return _tensors(_open_zip(archive, len(data)), len(data))
            return _tensors(_open_legacy(data), len(data))
    except DAMAGE as error:
        raise WeightsError(f"{path.name} is damaged: {error}", hint=DAMAGED) from error
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error.message}", hint=error.hint) from error


def _open_zip(archive: zipfile.ZipFile, file_bytes: int) -> _Checkpoint:
    names = archive.namelist()
    structures = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if any(name.endswith("constants.pkl") for name in names):
        raise WeightsError(
            "this is a TorchScript program, not a weights file", hint="save model.state_dict() instead"
        )
    if len(structures) != 1:
        raise WeightsError("this zip archive is no file of torch.save", hint="it has no data.pkl")
    prefix = structures[0].removesuffix("data.pkl")
    budget = [file_bytes]                          # entries may overlap in a hostile archive

    def stored(name: str) -> bytes:
        """Read an entry and check its CRC. torch does not compress; compressed entries could be bombs."""
        try:
            entry = archive.getinfo(prefix + name)
        except KeyError:
            raise WeightsError(f"the archive lacks {name}", hint=DAMAGED) from None
        budget[0] -= entry.file_size
        if entry.compress_type != zipfile.ZIP_STORED or budget[0] < 0:
            raise WeightsError("refused: an entry of the archive is compressed, or larger than the archive")
        return archive.read(entry)

    if archive.getinfo(structures[0]).file_size > MAX_PICKLE_BYTES:
        raise WeightsError("the pickled part of this file is too large to be a state dict")
    root = load_pickle(io.BytesIO(stored("data.pkl"))).value
    big = prefix + "byteorder" in names and stored("byteorder") == b"big"
    return _Checkpoint(root, lambda key: stored(f"data/{key}"), ">" if big else "<")


def _open_legacy(data: mmap.mmap) -> _Checkpoint:
    if load_pickle(data).value != MAGIC_NUMBER:
        raise WeightsError("this pickle was not written by torch.save", hint="only state dicts are read")
    protocol, system = load_pickle(data).value, load_pickle(data).value
    if protocol != PROTOCOL_VERSION or not isinstance(system, dict) or not system.get("little_endian", True):
        raise WeightsError("this old torch file is of an unknown version or from a big-endian machine")
    root, storages = load_pickle(data)
    keys = load_pickle(data).value
    if not isinstance(keys, list) or not all(key in storages for key in keys if isinstance(key, str)):
        raise WeightsError("the list of storages does not fit the structure", hint=DAMAGED)
    places: dict[str, slice] = {}
    position = data.tell()
    for key in keys:
        numel = int.from_bytes(data[position : position + 8], "little", signed=True)
        end = position + 8 + numel * _itemsize(storages[key])
        if numel < 0 or end > len(data):
            raise WeightsError("the file ends before its last tensor does", hint=DAMAGED)
        places[key] = slice(position + 8, end)
        position = end
    return _Checkpoint(root, lambda key: data[places[key]], "<")


def _tensors(checkpoint: _Checkpoint, file_bytes: int) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the arrays of the state dict in ``checkpoint``; a storage is read once, however many tensors share it."""
    state, wrapper = find_state_dict(checkpoint.root)
    total = sum(math.prod(t.shape) * _itemsize(t.storage.dtype) for t in state.values())
    if total > MAX_EXPANSION * file_bytes:
        raise WeightsError("refused: the tensors are said to be far larger than the file")
    sharing: dict[str, list[str]] = {}
    for name, tensor in state.items():
        sharing.setdefault(tensor.storage.key, []).append(name)
    arrays: dict[str, NDArray[Any]] = {}
    for key, names in sharing.items():
        numbers = checkpoint.numbers(key)
        for name in names:
            arrays[name] = _array(name, state[name], numbers, checkpoint.byteorder)
    return {name: arrays[name] for name in state}, wrapper


_KINDS: Final[dict[type, str]] = {
    StoredTensor: "one tensor", list: "a list", tuple: "a tuple", str: "text", int: "a number", float: "a number",
    type(None): "nothing",
}  # fmt: skip


def find_state_dict(root: Any) -> tuple[dict[str, StoredTensor], str]:
    """Return the state dict of a checkpoint and the dotted name of its wrapper ("" if none).

    Looks into ``WRAPPERS`` in order, then at the top; values that are no tensors (epoch, arguments) are left out.
    Raises WeightsError, which lists the keys, if there is none.
    """
    if not isinstance(root, dict):
        kind = _KINDS.get(type(root), "an object")
        raise WeightsError(f"it holds {kind}, not a state dict", hint="save model.state_dict() instead")
    match = _search(root, depth=3)
    if match is None:
        keys = ", ".join(repr(key)[:40] for key in list(root)[:5]) or "nothing"
        raise WeightsError(f"it has no state dict; it holds {keys}", hint="save model.state_dict() instead")
    return match


def _search(root: dict[Any, Any], depth: int) -> tuple[dict[str, StoredTensor], str] | None:
    for name in WRAPPERS if depth else ():
        inner = root.get(name)
        if isinstance(inner, dict):
            # szagoruyko's older files keep the running statistics apart.
            stats = root.get("stats") if name == "params" else None
            match = _search({**inner, **stats} if isinstance(stats, dict) else inner, depth - 1)
            if match:
                return match[0], f"{name}.{match[1]}" if match[1] else name
    state = {key: v for key, v in root.items() if isinstance(key, str) and isinstance(v, StoredTensor)}
    return (state, "") if state else None


def _array(name: str, tensor: StoredTensor, numbers: bytes, byteorder: ByteOrder) -> NDArray[Any]:
    """Copy the numbers of ``tensor`` as C-contiguous float32 or integers."""
    storage, itemsize = tensor.storage, _itemsize(tensor.storage.dtype)
    within = slice(storage.start * itemsize, (storage.start + storage.numel) * itemsize)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    empty = 0 in tensor.shape
    if within.stop > len(numbers) or not (empty or last < storage.numel):
        raise WeightsError(f"tensor {name!r} reaches beyond its storage", hint=DAMAGED)
    if empty:
        return to_float32(np.empty(tensor.shape, _raw_dtype(storage.dtype)), storage.dtype)
    base = np.frombuffer(numbers[within], _raw_dtype(storage.dtype).newbyteorder(byteorder))
    # A stride along a side of 1 means nothing and may be any number.
    steps = [step * itemsize if n > 1 else 0 for n, step in zip(tensor.shape, tensor.strides, strict=True)]
    view = np.lib.stride_tricks.as_strided(base[tensor.offset :], tensor.shape, steps, writeable=False)
    return to_float32(view, storage.dtype)


def to_float32(raw: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Convert numbers of ``dtype`` (bfloat16 as its 16 bits in unsigned integers) to float32; integers stay.

    Always a C-contiguous copy in the byte order of this machine.
    """
    if dtype == "bfloat16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    if dtype.startswith("float"):
        with np.errstate(over="ignore"):
            return raw.astype(np.float32, order="C")
    return raw.astype(raw.dtype.newbyteorder("="), order="C")


def _raw_dtype(dtype: str) -> np.dtype[Any]:
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)


def _itemsize(dtype: str) -> int:
    return _raw_dtype(dtype).itemsize


