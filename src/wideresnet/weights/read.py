"""Any weights file as named arrays: safetensors, ``.pth`` of any age, shards, ``.npz``. Told apart by content.

Nothing in a file is ever executed. What comes out is uniform: float32 (from float16, bfloat16, float64) and integers,
by the names of the file, so that the rest of the package never asks how a file was made.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import WeightsError
from wideresnet.output.atomic import atomic_path
from wideresnet.pipes import check_regular
from wideresnet.unpickle import DAMAGED, SAVE_AGAIN
from wideresnet.unpickle.values import StoredTensor
from wideresnet.weights.flatten import UNREAD, Fact, flatten
from wideresnet.weights.formats import sniff
from wideresnet.weights.pth import check_expansion, open_pth, read_tensor
from wideresnet.weights.raw import file_named, raw_dtype, to_float32

SAFETENSORS_DTYPES: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
MAX_ARRAY_BYTES: Final = 1 << 30                   # of one array of an .npz, which may be compressed
MAX_INDEX_BYTES: Final = 1 << 24


@dataclass(eq=False)
class WeightsReader:
    """An open weights file: what is in it, and a function that reads its tensors one at a time.

    Names are dotted paths in the order of the file: "state_dict.module.conv1.weight",
    "optimizer.state.0.momentum_buffer". ``read(name)`` gives C-contiguous float32 (from float16, bfloat16, float64)
    or integers; it raises WeightsError, and serves until ``open_weights`` ends.
    """

    files: Sequence[Path]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]                         # as stored: "float16", "bfloat16", "int64", …
    read: Callable[[str], NDArray[Any]]
    facts: dict[str, Fact] = field(default_factory=dict)      # numbers and texts beside the tensors, see ``flatten``
    metadata: dict[str, str] = field(default_factory=dict)    # of a safetensors header
    cut: int = 0                                   # plain values that are no facts, as there are too many
    ordered: bool = False                          # names are in the order in which the network registered them

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, of shards in the order of their names; see ``sha256_of``."""
        return sha256_of(*self.files)


@contextmanager
def open_weights(path: Path) -> Iterator[WeightsReader]:
    """Open a weights file of any kind. Nothing in it is executed, and no tensor is read yet.

    Raises WeightsError if it is not one, is damaged, or is unsafe to read.
    """
    with ExitStack() as opened:
        try:
            _check_is_no_shard(path)
            reader = _open_file(path, opened)
        except OSError as error:
            reason = error.strerror or str(error)
            raise WeightsError(f"cannot read {error.filename or path}: {reason}", hint="check the path") from error
        yield reader


def _open_file(path: Path, opened: ExitStack, *, shard: bool = False) -> WeightsReader:
    """Open a file by its kind until ``opened`` ends; a shard can't be an index."""
    check_regular(path, WeightsError, hint="write the weights to a file first")
    kind = sniff(path)
    if kind == "index" and not shard:
        return _open_shards(path, opened)
    file = opened.enter_context(path.open("rb"))
    with file_named(path.name):
        # Not closed here: an exception may hold views of it for longer.
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        reader = {"safetensors": _open_safetensors, "npz": _open_npz}.get(kind, _open_pickled)(path, file, data)

    @file_named(path.name)
    def read(name: str) -> NDArray[Any]:
        array = to_float32(reader.read(name), reader.dtypes[name])
        if hasattr(mmap, "MADV_DONTNEED"):         # what was read need not count as memory of this process
            data.madvise(mmap.MADV_DONTNEED)
        return array

    return replace(reader, read=read)


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Read all tensors of a weights file, by the names of ``WeightsReader``, in the order of the file.

    Raises WeightsError if it is not one, is damaged, or is unsafe to read.
    """
    with open_weights(path) as reader:
        return {name: reader.read(name) for name in reader.shapes}


def save_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically. Raises OSError."""
    from safetensors.numpy import save_file

    # asarray, unlike ascontiguousarray, leaves 0-d arrays 0-d.
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with atomic_path(path) as part:
        save_file(arrays, part, dict(metadata))
        part.chmod(0o644)                          # the library makes it readable for its owner only


def sha256_of(*paths: Path) -> str:
    """Return the SHA-256 of a file, lower-case hex; of several that of their hashes in hex, joined."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


# Each opens one kind of file; ``read`` of its reader gives numbers as they are stored, bfloat16 as unsigned integers.


def _open_pickled(path: Path, file: BinaryIO, data: mmap.mmap) -> WeightsReader:
    checkpoint = open_pth(file, data)
    tensors, facts, cut = flatten(checkpoint.root)
    if not tensors or "" in tensors:
        content = "one tensor" if tensors else ", ".join(map(repr, list(facts)[:5])) or "nothing"
        raise WeightsError(f"it holds {content}, no state dict", hint=SAVE_AGAIN)
    check_expansion((tensor for tensor in tensors.values() if isinstance(tensor, StoredTensor)), len(data))

    def read(name: str) -> NDArray[Any]:
        tensor = tensors[name]
        return read_tensor(name, tensor, checkpoint) if isinstance(tensor, StoredTensor) else tensor

    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    dtypes = {
        name: tensor.storage.dtype if isinstance(tensor, StoredTensor) else tensor.dtype.name
        for name, tensor in tensors.items()
    }
    return WeightsReader([path], shapes, dtypes, read, facts, ordered=True, cut=cut)


def _open_safetensors(path: Path, file: BinaryIO, _data: mmap.mmap) -> WeightsReader:
    """Open a safetensors file: the library checks the header (sizes, overlaps, holes), NumPy reads the bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ValueError(f"as a safetensors file it has an {error}") from error
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    dtypes = {name: SAFETENSORS_DTYPES.get(entry["dtype"], entry["dtype"]) for name, entry in header.items()}

    def read(name: str) -> NDArray[Any]:
        if header[name]["dtype"] not in SAFETENSORS_DTYPES:
            problem = f"tensor {name!r} is stored as {dtypes[name]}, which is not read here"
            raise WeightsError(problem, hint="convert it to float32, float16 or bfloat16")
        begin, end = header[name]["data_offsets"]
        raw = raw_dtype(dtypes[name]).newbyteorder("<")
        file.seek(8 + length + begin)
        return np.fromfile(file, raw, (end - begin) // raw.itemsize).reshape(shapes[name])

    return WeightsReader([path], shapes, dtypes, read, metadata=metadata)


def _open_npz(path: Path, file: BinaryIO, _data: mmap.mmap) -> WeightsReader:
    """Open NumPy's archive of named arrays. Arrays of other things than numbers are facts; objects are never loaded."""
    archive = zipfile.ZipFile(file)
    headers = {entry.filename.removesuffix(".npy"): _npy_header(archive, entry) for entry in archive.infolist()}
    # JAX's bfloat16 is stored as two bytes without a type.
    names = {name: "bfloat16" if dtype == "V2" else dtype.name for name, (_, dtype) in headers.items()}
    dtypes = {name: dtype for name, dtype in names.items() if re.match("b?float|u?int|bool", dtype)}
    shapes = {name: headers[name][0] for name in dtypes}
    facts: dict[str, Fact] = {n: f"an array of {dtype}, {UNREAD}" for n, dtype in names.items() if n not in dtypes}

    def read(name: str) -> NDArray[Any]:
        with archive.open(f"{name}.npy") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        return array.view(np.uint16) if dtypes[name] == "bfloat16" else array

    return WeightsReader([path], shapes, dtypes, read, facts)


def _npy_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and dtype of an array in an archive. Raises ValueError for more numbers than its entry has."""
    with archive.open(entry) as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if math.prod(shape) * dtype.itemsize > min(entry.file_size, MAX_ARRAY_BYTES):
        raise ValueError(f"{entry.filename} is said to have {list(shape)} numbers in {entry.file_size:,} bytes")
    return shape, dtype


def _open_shards(path: Path, opened: ExitStack) -> WeightsReader:
    """Open the shards that an ``*.index.json`` lists."""
    with file_named(path.name):
        locations = _weight_map(path)
        files = {file: path.with_name(file) for file in sorted(set(locations.values()))}
    readers = {name: _open_file(file, opened, shard=True) for name, file in files.items()}
    if missing := [name for name, file in locations.items() if name not in readers[file].shapes]:
        raise WeightsError(f"the shards lack {missing[0]!r}, which {path.name} lists", hint=DAMAGED)
    shapes = {name: readers[file].shapes[name] for name, file in locations.items()}
    dtypes = {name: readers[file].dtypes[name] for name, file in locations.items()}
    return WeightsReader([*files.values()], shapes, dtypes, lambda name: readers[locations[name]].read(name))


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file name of each tensor. Raises WeightsError and ValueError."""
    with index.open("rb") as file:
        content = json.loads(file.read(MAX_INDEX_BYTES))
    locations = content.get("weight_map")
    files = list(locations.values()) if isinstance(locations, dict) else [None]
    if not all(isinstance(file, str) and file.isprintable() for file in files):
        raise WeightsError("this JSON is no index of shards: it has no weight_map", hint="give the weights file")
    return dict(locations)


def _check_is_no_shard(path: Path) -> None:
    """Raise WeightsError for one of several shards whose index lies beside it."""
    for index in path.parent.glob("*.index.json") if "-of-" in path.name else ():
        with file_named(index.name):
            shards = set(_weight_map(index).values())
        if path.name in shards and len(shards) > 1:
            raise WeightsError(f"{path.name} is one of {len(shards)} shards", hint=f"give their index: {index}")
