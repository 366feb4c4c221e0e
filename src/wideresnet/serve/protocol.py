"""The Open Inference Protocol, version 2, with its binary tensor extension: a body to images, logits to a body.

https://github.com/kserve/open-inference-protocol, and Triton's extensions "binary_tensor_data", "classification",
"model_configuration" and "statistics". Inputs, one of the two, also under a name of the client's own:

    images     UINT8 [N, S, S, 3]    RGB, as ``wideresnet.preprocess`` makes them
    pictures   BYTES [N]             encoded images (in JSON: base64)

N may be -1. What is ignored in a request stands in the answer's parameters.

Output: ``logits`` FP32 [N, C]; with its parameter ``classification`` k, BYTES [N, k] of "probability:index:label".
"""

from __future__ import annotations

import base64
import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wideresnet.logits import top_k
from wideresnet.records import Labels, ModelCard
from wideresnet.report.escape import json_text
from wideresnet.serve.http.errors import ApiError

PIXEL_INPUT, ENCODED_INPUT, LOGITS = "images", "pictures", "logits"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON = 4 * 2**20                               # bytes; read, they can become 25 times as many
VERSION = "1"                                      # a model has one; another graph under its name is a reload

_URL_SAFE = str.maketrans("-_", "+/")
_EXAMPLE = '{"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["BASE64"]}]}'
_LENGTHS = "send before each element its length: 4 bytes, little-endian"
_BASE64 = f"send {_EXAMPLE}, or binary data"
_BINARY = f"{HEADER_LENGTH} counts the bytes of JSON, binary_data_size those of each tensor after it"


class _Part(BaseModel):
    """A part of a request. ``null`` is a member that is not there; members that are not known are kept to be named."""

    model_config = ConfigDict(extra="allow", strict=True)
    parameters: dict[str, Any] | None = None

    def parameter(self, name: str, default: Any = None) -> Any:
        """A parameter, or ``default``."""
        return (self.parameters or {}).get(name, default)

    def ignored(self, *known: str) -> list[str]:
        """Names of members and parameters, but those ``known``. Raises ApiError for tensors in shared memory."""
        names = [*(self.model_extra or {}), *(name for name in self.parameters or {} if name not in known)]
        if any(name.startswith("shared_memory") for name in names):
            raise ApiError("parameters", "tensors in shared memory are not served", _BINARY)
        return names


class _Input(_Part):
    name: str
    shape: list[int] = Field(max_length=8)
    datatype: str
    data: Any = None

    @field_validator("shape", mode="before")
    @classmethod
    def _listed(cls, shape: object) -> object:
        return [shape] if type(shape) is int else shape


class _Output(_Part):
    name: str


class _Header(_Part):
    id: str | None = None
    inputs: list[_Input]
    outputs: list[_Output] | None = None


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    ready: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """What one request wants. ``classes`` 0: the logits themselves; ``binary``: not as JSON; ``said``: what was
    ignored or assumed, as parameters of the answer.
    """

    id: str
    source: NDArray[np.uint8] | list[bytes]
    binary: bool
    classes: int
    said: dict[str, str] = field(default_factory=dict)

    def parts(self, most: int) -> list[bytes] | list[NDArray[np.uint8]]:
        """The images one by one, or the tensor in batches of ``most``."""
        if isinstance(self.source, list):
            return self.source
        return [self.source[start : start + most] for start in range(0, len(self.source), most)]


def server_metadata(version: str) -> dict[str, Any]:
    """``GET /v2``"""
    extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"]
    return {"name": "wideresnet", "version": version, "extensions": extensions}


def model_metadata(name: str, card: ModelCard, runtime: str) -> dict[str, Any]:
    """``GET /v2/models/NAME``"""
    side = card.preprocess.crop
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"onnx_{runtime}",
        "inputs": [
            {"name": PIXEL_INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": ENCODED_INPUT, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": LOGITS, "datatype": "FP32", "shape": [-1, card.classes]}],
    }


def model_config(name: str, card: ModelCard, runtime: str, most: int) -> dict[str, Any]:
    """``GET /v2/models/NAME/config``: Triton's form, with what holds here; ``most`` images a batch."""
    side = card.preprocess.crop
    return {
        "name": name,
        "platform": f"onnx_{runtime}",
        "backend": runtime,
        "max_batch_size": most,
        "input": [
            {"name": PIXEL_INPUT, "data_type": "TYPE_UINT8", "dims": [side, side, 3], "optional": True},
            {"name": ENCODED_INPUT, "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ],
        "output": [{"name": LOGITS, "data_type": "TYPE_FP32", "dims": [card.classes]}],
    }


def parse_index(body: bytes) -> bool:
    """The body of ``POST /v2/repository/index``: whether to list only models that are ready. Raises ApiError."""
    try:
        return _Index.model_validate_json(body or b"{}").ready
    except ValidationError as error:
        words = "the body is no question for the index"
        raise ApiError("request", words, 'send {"ready": true}, or no body') from error


def parse(body: bytes, header_length: str | None, side: int, most: int) -> Asked:
    """The body of ``…/infer`` for a network of ``side`` pixels. Raises ApiError for what it cannot be."""
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:12]) > len(body):
            words = f"{HEADER_LENGTH} is {header_length[:20]!r}, the body has {len(body)} bytes"
            raise ApiError("request", words, _BINARY)
        length = int(header_length)
    if length > MAX_JSON:
        raise ApiError("large", f"{length:,} bytes of JSON, at most {MAX_JSON:,}", f"send binary data: {_BINARY}")
    try:
        header = _Header.model_validate_json(body[:length])
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        words = f"no inference request: {where[:80] + ': ' if where else ''}{fault['msg']}"
        raise ApiError("request", words, f"send {_EXAMPLE}") from error
    tensors = _tensors(header, memoryview(body)[length:])
    if len(header.inputs) != 1:
        names = ", ".join(each.name for each in header.inputs)[:200]
        raise ApiError("parameters", f"the inputs are [{names}]", f"give one of {PIXEL_INPUT} and {ENCODED_INPUT}")
    given, data, said = header.inputs[0], tensors[0], _said(header)
    encoded = _meant(given, side) == ENCODED_INPUT
    source = _encoded_images(given, data, most) if encoded else _pixels(given, data, side, most)
    return Asked(header.id or "", source, *_wanted(header), said)


def _meant(given: _Input, side: int) -> str:
    """Which of the two inputs it is: by its name or, under another name, by its type. Raises ApiError."""
    name = {"UINT8": PIXEL_INPUT, "BYTES": ENCODED_INPUT}.get(given.datatype, "")
    shapes = {PIXEL_INPUT: [[side, side, 3]], ENCODED_INPUT: [[], [1]], "": []}
    contradicted = given.name in (PIXEL_INPUT, ENCODED_INPUT) and given.name != name
    if contradicted or not given.shape or given.shape[1:] not in shapes[name]:
        raise ApiError(
            "parameters",
            f"this network takes {PIXEL_INPUT}, UINT8 [N, {side}, {side}, 3] (RGB from 0 to 255, not normalised), or"
            f" {ENCODED_INPUT}, BYTES [N] (encoded); got {given.name[:40]!r}, {given.datatype[:20]} {given.shape}",
            f"send {_EXAMPLE}",
        )
    return name


def _said(header: _Header) -> dict[str, str]:
    """What is ignored in a request, and what an input of another name was taken for."""
    (given,), outputs = header.inputs, header.outputs or []
    ignored = header.ignored("binary_data_output") + given.ignored("binary_data_size")
    for output in outputs:
        ignored += output.ignored("binary_data", "classification")
    said = {"ignored": ", ".join(ignored)[:500]} if ignored else {}
    if given.name not in (PIXEL_INPUT, ENCODED_INPUT):
        said["read_as"] = PIXEL_INPUT if given.datatype == "UINT8" else ENCODED_INPUT
    return said


def render(asked: Asked, name: str, logits: NDArray[np.float32], labels: Labels) -> tuple[bytes, dict[str, str]]:
    """float32 [N, C] -> the body of the answer and its headers."""
    output: dict[str, Any] = {"name": LOGITS, "datatype": "FP32", "shape": list(logits.shape)}
    blob = b""
    if asked.classes:
        answers = top_k(logits, labels, asked.classes)
        words = [f"{each.probability:.6f}:{each.index}:{each.label}" for answer in answers for each in answer]
        output.update(datatype="BYTES", shape=[len(answers), len(words) // len(answers)])
    if asked.binary:
        blob = _pack(words) if asked.classes else logits.astype("<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(blob)}
    else:
        output["data"] = words if asked.classes else logits.ravel().tolist()
    answer = {"model_name": name, "model_version": VERSION, "outputs": [output]}
    more = ({"id": asked.id} if asked.id else {}) | ({"parameters": asked.said} if asked.said else {})
    header = json_text(answer | more).encode()
    if not asked.binary:
        return header, {"Content-Type": "application/json"}
    return header + blob, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def _tensors(header: _Header, rest: memoryview) -> list[memoryview | None]:
    """The binary data of each input, or None where it is JSON."""
    found: list[memoryview | None] = []
    for each in header.inputs:
        size = each.parameter("binary_data_size")
        if size is None:
            found.append(None)
            continue
        if each.data is not None:
            raise ApiError("request", f"{each.name[:40]!r} has both data and binary_data_size", "send one of them")
        if type(size) is not int or not 0 <= size <= len(rest):
            words = f"binary_data_size of {each.name[:40]!r} is {str(size)[:40]}, {len(rest)} bytes are left"
            raise ApiError("request", words, _BINARY)
        found.append(rest[:size])
        rest = rest[size:]
    if rest:
        raise ApiError("request", f"{len(rest)} bytes after the last tensor", _BINARY)
    return found


def _pixels(given: _Input, data: memoryview | None, side: int, most: int) -> NDArray[np.uint8]:
    """uint8 [N, S, S, 3]"""
    count = given.shape[0]
    if count != -1:
        _check_count(count, most)
    values = _array(given.data) if data is None else np.frombuffer(data, np.uint8)
    if count == -1:
        _check_count(count := values.size // (side * side * 3), most)
    shape = (count, side, side, 3)
    if values.size != math.prod(shape) or (values.ndim == 4 and values.shape != shape):
        found = list(values.shape) if values.ndim > 1 else values.size
        raise ApiError("request", f"values {found} for the shape {given.shape}", "send them as the shape says, or flat")
    return values.reshape(shape)


def _array(data: object) -> NDArray[np.uint8]:
    """Numbers of a JSON list, nested or flat."""
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise ApiError("request", "the data are no regular array", "send a flat list of numbers") from error
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        words = "the data are not all whole numbers from 0 to 255"
        raise ApiError("request", words, "send RGB as it is, without normalisation")
    return values.astype(np.uint8)


def _encoded_images(given: _Input, data: memoryview | None, most: int) -> list[bytes]:
    """Encoded images."""
    count = given.shape[0]
    if count != -1:
        _check_count(count, most)
    found = list(map(_base64, _words(given.data, most))) if data is None else _unpack(data, most)
    if count == -1:
        _check_count(len(found), most)
    elif len(found) != count:
        words = f"{len(found)} images for the shape {given.shape}"
        raise ApiError("request", words, "give as many as the shape says, or the shape [-1]")
    return found


def _check_count(count: int, most: int) -> None:
    if count < 1:
        raise ApiError("parameters", f"a batch of {count} pictures", "send at least one")
    if count > most:
        raise ApiError("large", f"{count} images in one request, at most {most}", "send several requests")


def _words(data: object, most: int) -> Iterator[object]:
    """The elements of BYTES in JSON: a string, a list, or a list of lists; one over ``most`` at most."""
    rows = [data] if isinstance(data, str) else data if isinstance(data, list) else []
    flat = (word for row in rows for word in (row if isinstance(row, list) else [row]))
    return itertools.islice(flat, most + 1)


def _base64(word: object) -> bytes:
    """Base64 in any of its usual forms: standard or URL-safe, in lines or not, with padding or not, in a data: URL."""
    if not isinstance(word, str):
        raise ApiError("request", f"an element of {ENCODED_INPUT} is no string", _BASE64)
    text = (word.startswith("data:") and word.partition("base64,")[2]) or word
    text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ApiError("request", f"{ENCODED_INPUT} in JSON are base64: {error}", _BASE64) from error


def _unpack(data: memoryview, most: int) -> list[bytes]:
    """Triton's form of BYTES: before each element its length, 4 bytes, little-endian. One over ``most`` at most."""
    found: list[bytes] = []
    while data and len(found) <= most:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 + size:
            raise ApiError("request", f"element {len(found)} of {ENCODED_INPUT} is cut short", _LENGTHS)
        found.append(bytes(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def _pack(words: Sequence[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"".join(struct.pack("<I", len(word)) + word for word in encoded)


def _wanted(header: _Header) -> tuple[bool, int]:
    """Whether the output is binary, and how many classes of it."""
    outputs = header.outputs or []
    if [each.name for each in outputs] not in ([], [LOGITS]):
        names = ", ".join(each.name for each in outputs)[:200]
        raise ApiError("parameters", f"the outputs are [{names}]", f"ask for {LOGITS}, or leave outputs out")
    binary, classes = header.parameter("binary_data_output", False), 0
    if outputs:
        binary, classes = outputs[0].parameter("binary_data", binary), outputs[0].parameter("classification", 0)
    if type(binary) is not bool or type(classes) is not int or classes < 0:
        words = f"binary_data is {str(binary)[:40]}, classification {str(classes)[:40]}"
        raise ApiError("parameters", words, "binary_data is true or false, classification a number of classes")
    return binary, classes
