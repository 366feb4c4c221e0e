"""Kinds of weights files by their first bytes, and what to do with those that are not read here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from wideresnet.errors import WeightsError
from wideresnet.unpickle import DAMAGED


def sniff(path: Path) -> str:
    """Return ``"safetensors"``, ``"pth"``, ``"npz"`` or ``"index"`` (of shards), by content.

    Raises WeightsError with the format that another file looks like, and OSError.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "npz" if head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy") else "pth"
    if head.startswith(b"\x80"):
        return "pth"
    if head.lstrip()[:1] == b"{":
        return "index"
    # A name tells the kind of files that are bare numbers.
    description = head + b"\nFILE " + path.name.encode()
    fallback = (f"it begins with {head[:8]!r}", "give .safetensors, .pth, .npz or .onnx")
    kind, hint = next((FORMATS[form] for form in FORMATS if re.match(form, description, re.DOTALL)), fallback)
    raise WeightsError(f"{path.name} is no weights file: {kind}", hint=hint.replace("FILE", str(path)))


FLAX: Final = (
    "np.savez('w.npz', **flax.traverse_util.flatten_dict("
    "flax.serialization.msgpack_restore(open('FILE', 'rb').read()), sep='.'))"
)
KERAS: Final = "np.savez('w.npz', **{v.path: v.numpy() for v in keras.saving.load_model('FILE').variables})"
TF: Final = "np.savez('w.npz', **{n: tf.train.load_variable(PREFIX, n) for n, _ in tf.train.list_variables(PREFIX)})"
# Beginnings of other files, or their names after all they have; the first that matches.
FORMATS: Final = {
    rb"\nFILE ": ("it is empty", DAMAGED),
    rb"version https://git-lfs": ("it is a Git LFS pointer, not the file itself", "git lfs pull"),
    rb"(\s*<\?xml[^>]*>)?\s*<net\s": ("it is an OpenVINO model", "give the .onnx or the weights it was converted from"),
    rb"\s*<": ("it is a web page; the download gave an error page instead of the file", DAMAGED),
    rb".{257}ustar": ("it is a tar archive (torch's format before 0.1.10, or packed files)", "tar -xf FILE"),
    rb"\x1f\x8b": ("it is compressed with gzip", "gunzip FILE"),
    rb"\x89HDF": ("it is an HDF5 file (Keras)", KERAS),
    rb"([\x81-\x8f]|\xde..|\xdf....)[\xa1-\xbf\xd9]": ("it is a msgpack file (Flax)", FLAX),
    rb"\x08[\x03-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]": ("it is an ONNX model", "give it as a model: -m NAME.onnx"),
    rb"[\x03\x04]\0\0\0": ("it is a file of Lua Torch (.t7)", "convert it to PyTorch first: pip install torchfile"),
    rb".*\nFILE \S+\.(index|meta|data-\d+-of-\d+)$": ("it is a part of a TensorFlow checkpoint", TF),
}
