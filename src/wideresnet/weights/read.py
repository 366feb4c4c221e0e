"""Any weights file as named arrays: safetensors, or ``.pth`` of any age. Told apart by content.

Nothing in a file is ever executed. What comes out is uniform: float32 (from float16, bfloat16, float64)
and integers, wrappers and prefixes of training scripts removed, so that the rest of the package never
asks how a file was made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import WeightsError
from wideresnet.output.atomic import atomic_path
from wideresnet.pipes import special_kind
from wideresnet.weights.pth import read_pth, to_float32

# Put before every key by DataParallel and DDP, torch.compile, and wrappers that hold a model.
PREFIXES: Final = ("module.", "_orig_mod.", "model.", "backbone.")

DAMAGED: Final = "fetch or copy it again"

SAFETENSORS_DTYPES: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class TensorFile:
    """The content of a weights file. ``tensors`` keeps the file's order; floating ones are float32."""

    tensors: dict[str, NDArray[Any]]
    sha256: str                                    # of the whole file, lower-case hex
    metadata: dict[str, str] = field(default_factory=dict)    # of a safetensors header
    wrapper: str = ""                              # where in a checkpoint they lay: "state_dict_ema", "model"


def read_tensors(path: Path) -> TensorFile:
    """Read a weights file. Raises WeightsError if it is not one, is damaged, or is unsafe to read.

    Of a checkpoint with several copies, a moving average is taken before the plain weights
    (``pth.WRAPPERS`` has the order); ``TensorFile.wrapper`` says which it was.
    """
    if special := special_kind(path):
        raise WeightsError(f"{path} is not a regular file: {special}", hint="write the weights to a file first")
    try:
        kind = sniff(path)
        if kind == "safetensors":
            tensors, metadata = _read_safetensors(path)
            wrapper = ""
        else:
            tensors, wrapper = read_pth(path)
            metadata = {}
        return TensorFile(strip_prefixes(tensors), sha256_of(path), metadata, wrapper)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightsError(f"cannot read {path}: {reason}", hint="check the path of the file") from error


def save_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically. Raises OSError."""
    from safetensors.numpy import save_file

    # asarray, unlike ascontiguousarray, leaves 0-d arrays 0-d.
    arrays = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    with atomic_path(path) as part:
        save_file(arrays, part, dict(metadata))
        part.chmod(0o644)                          # the library makes it readable for its owner only


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sniff(path: Path) -> str:
    """Return ``"safetensors"`` or ``"pth"``, by content. Raises WeightsError with the format it looks like."""
    with path.open("rb") as file:
        head = file.read(512)
        size = file.seek(0, os.SEEK_END)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "pth"
    raise WeightsError(f"{path.name} is no weights file: {_look(head)}", hint="give safetensors or .pth")


def _look(head: bytes) -> str:
    """Describe the first bytes of a file that is not a weights file."""
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; the file itself was not fetched ('git lfs pull')"
    if head.lstrip()[:1] == b"<":
        return "it is a web page; the download gave an error page instead of the file"
    if head[257:262] == b"ustar":
        return "it is a tar archive (torch's format before 0.1.10; save it again with a newer torch)"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file (Keras)"
    return f"it begins with {head[:8]!r}"


def strip_prefixes(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Remove ``PREFIXES``, in any order and number, as long as every key has the same one."""
    # The counter of torch.optim.swa_utils.AveragedModel stands beside its "module." keys.
    tensors = {key: array for key, array in tensors.items() if key != "n_averaged"}
    while prefix := next((p for p in PREFIXES if tensors and all(k.startswith(p) for k in tensors)), ""):
        tensors = {key.removeprefix(prefix): array for key, array in tensors.items()}
    return tensors


def _read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Tensors and metadata. The library checks the header (sizes, overlaps, holes); NumPy reads the bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise WeightsError(f"{path.name} is a damaged safetensors file: {error}", hint=DAMAGED) from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        dtype = SAFETENSORS_DTYPES.get(entry["dtype"])
        if dtype is None:
            raise WeightsError(
                f"tensor {name!r} in {path.name} is stored as {entry['dtype']}, which is not read here",
                hint="convert it to float32, float16 or bfloat16",
            )
        raw = np.dtype(np.uint16 if dtype == "bfloat16" else dtype).newbyteorder("<")
        begin, end = entry["data_offsets"]
        flat = np.fromfile(path, raw, (end - begin) // raw.itemsize, offset=8 + length + begin)
        tensors[name] = to_float32(flat.reshape(entry["shape"]), dtype)
    return tensors, metadata
