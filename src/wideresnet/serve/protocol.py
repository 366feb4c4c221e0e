"""The Open Inference Protocol, version 2, with its binary tensor extension: requests to images, and metadata.

https://github.com/kserve/open-inference-protocol, and Triton's extensions "binary_tensor_data", "classification",
"model_configuration" and "statistics". A request has one of two inputs, also under a name of the client's own:

    images     UINT8 [N, S, S, 3]    preprocessed RGB, as ``wideresnet.preprocess`` returns it
    pictures   BYTES [N]             encoded images (in JSON: base64)

N may be -1. The parameters of the response list ignored parts of the request.

Outputs: ``logits`` FP32 [N, C]; with its parameter ``classification`` k, BYTES [N, k] of "probability:index:label".
Of calibrated models also ``p_known`` FP32 [N, 1], and with the request's parameter ``coverage``, in percent, ``set``
BOOL [N, C]: which classes are in the prediction set.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
import reprlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from wideresnet.classifier import Classifier
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.http.request_checks import parse_number
from wideresnet.serve.versions import split_name

PIXEL_INPUT, ENCODED_INPUT = "images", "pictures"
LOGITS_OUTPUT, KNOWN_OUTPUT, SET_OUTPUT = "logits", "p_known", "set"
COVERAGE = "coverage"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON = 4 * 2**20                               # bytes; parsed, they can take 32 times as much memory
MAX_OBJECTS, MAX_MEMBERS = 100, 100                # objects of a request, members of each
MAX_LISTED = 500                                   # characters of the names of ignored parts

_URL_SAFE = str.maketrans("-_", "+/")
_EXAMPLE = '{"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": ["BASE64"]}]}'
_LENGTHS = "send the length of each element before it: 4 bytes, little-endian"
_BASE64 = f"send {_EXAMPLE}, or binary data"
_BINARY = f"{HEADER_LENGTH} counts the bytes of JSON, binary_data_size those of each tensor after it"


class _Node(BaseModel):
    """A JSON object with parameters. ``null`` counts as missing; unknown members are kept, to be reported."""

    model_config = ConfigDict(extra="allow", strict=True)
    parameters: dict[str, Any] | None = None

    def parameter(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or ``default``."""
        return (self.parameters or {}).get(name, default)

    def ignored(self, *used: str) -> list[str]:
        """Return the unknown members, and parameters except ``used``. Raises ApiError for shared memory."""
        names = [*(self.model_extra or {}), *(name for name in self.parameters or {} if name not in used)]
        if any(name.startswith("shared_memory") for name in names):
            raise ApiError("parameters", "tensors in shared memory are not supported", _BINARY)
        return names


class _InputTensor(_Node):
    name: str
    shape: list[Annotated[int, Field(ge=-(2**31), le=2**31)]] = Field(max_length=8, fail_fast=True)
    datatype: str
    data: Any = None

    @field_validator("shape", mode="before")
    @classmethod
    def _as_list(cls, shape: object) -> object:
        return [shape] if type(shape) is int else shape


class _OutputTensor(_Node):
    name: str


class _RequestHeader(_Node):
    id: str | None = None
    inputs: list[_InputTensor] = Field(fail_fast=True)
    outputs: list[_OutputTensor] | None = Field(None, fail_fast=True)


@dataclass(frozen=True, eq=False)
class InferenceRequest:
    """One parsed request.

    ``images`` are pixels, RGB uint8 [N, S, S, 3], or encoded images. ``outputs``: their names. ``binary``: those to
    render as binary data, not JSON. ``classes``: render that many classes; 0 renders logits. ``coverage``: that of the
    sets as it was given, None without any. ``notes``: parameters of the response that report ignored or assumed parts.
    """

    id: str
    images: NDArray[np.uint8] | list[bytes]
    outputs: Collection[str]
    binary: Collection[str]
    classes: int
    coverage: object = None
    notes: dict[str, str] = field(default_factory=dict)

    def split(self, batch_size: int) -> list[bytes] | list[NDArray[np.uint8]]:
        """Return the encoded images one by one, or the pixels in batches of at most ``batch_size``."""
        if isinstance(self.images, list):
            return self.images
        return [self.images[start : start + batch_size] for start in range(0, len(self.images), batch_size)]


def server_metadata(version: str, controlled: bool) -> dict[str, Any]:
    """Return the document of ``GET /v2``; ``controlled``: whether models can be loaded and unloaded."""
    extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"]
    extensions += ["model_repository"] if controlled else []
    return {"name": "wideresnet", "version": version, "extensions": extensions}


def outputs_of(classifier: Classifier) -> dict[str, tuple[str, int]]:
    """Return the outputs of a model, with their types and numbers of columns."""
    classes = classifier.card.classes
    calibrated = {KNOWN_OUTPUT: ("FP32", 1), SET_OUTPUT: ("BOOL", classes)} if classifier.card.uncertainty else {}
    return {LOGITS_OUTPUT: ("FP32", classes)} | calibrated


def model_metadata(name: str, classifier: Classifier, versions: Collection[str]) -> dict[str, Any]:
    """Return the document of ``GET /v2/models/NAME``."""
    side = classifier.card.preprocess.crop
    return {
        "name": split_name(name)[0],
        "versions": list(versions),
        "platform": f"onnx_{classifier.engine.info.runtime}",
        "inputs": [
            {"name": PIXEL_INPUT, "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": ENCODED_INPUT, "datatype": "BYTES", "shape": [-1]},
        ][len(classifier.card.specs) > 1 :],       # no pixels where members take different crops
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, columns]}
            for name, (datatype, columns) in outputs_of(classifier).items()
        ],
    }


def model_config(name: str, classifier: Classifier, max_images: int) -> dict[str, Any]:
    """Return the document of ``GET /v2/models/NAME/config``, in Triton's form."""
    side, runtime = classifier.card.preprocess.crop, classifier.engine.info.runtime
    return {
        "name": split_name(name)[0],
        "platform": f"onnx_{runtime}",
        "backend": runtime,
        "max_batch_size": max_images,
        "input": [
            {"name": PIXEL_INPUT, "data_type": "TYPE_UINT8", "dims": [side, side, 3], "optional": True},
            {"name": ENCODED_INPUT, "data_type": "TYPE_STRING", "dims": [1], "optional": True},
        ][len(classifier.card.specs) > 1 :],
        "output": [
            {"name": name, "data_type": f"TYPE_{datatype}", "dims": [columns]}
            for name, (datatype, columns) in outputs_of(classifier).items()
        ],
    }


def parse_request(
    body: bytes, header_length: str | None, side: int, max_images: int, outputs: Collection[str] = (LOGITS_OUTPUT,)
) -> InferenceRequest:
    """Parse the body of ``POST …/infer``; see ``parse_document``. Raises ApiError."""
    length = len(body)
    if header_length is not None:
        if (stated := parse_number(header_length, length)) is None:
            message = f"{HEADER_LENGTH} is {header_length[:20]!r}, the body has {length} bytes"
            raise ApiError("request", message, _BINARY)
        length = stated
    if length > MAX_JSON:
        raise ApiError("large", f"{length:,} bytes of JSON, at most {MAX_JSON:,}", f"send binary data: {_BINARY}")
    return parse_document(parse_json(body[:length]), memoryview(body)[length:], side, max_images, outputs)


def parse_document(
    document: object, blob: memoryview, side: int, max_images: int, outputs: Collection[str] = (LOGITS_OUTPUT,)
) -> InferenceRequest:
    """Read a request for a network of ``side`` × ``side`` pixels with ``outputs``; ``blob``: its binary data.

    Raises ApiError.
    """
    try:
        header = _RequestHeader.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        location = ".".join(map(str, fault["loc"]))
        message = f"invalid inference request: {location[:80] + ': ' if location else ''}{fault['msg']}"
        raise ApiError("request", message.partition(" or instance of")[0], f"send {_EXAMPLE}") from error
    binary_data = _split_binary_data(header, blob)
    if len(header.inputs) != 1:
        names = ", ".join(tensor.name for tensor in header.inputs)[:200]
        raise ApiError("parameters", f"the inputs are [{names}]", f"give one of {PIXEL_INPUT} and {ENCODED_INPUT}")
    (tensor,), (data,), notes = header.inputs, binary_data, _notes(header)
    read = _read_encoded_images if _input_name(tensor, side) == ENCODED_INPUT else _read_pixels
    if tensor.shape[0] != -1:
        _check_count(tensor.shape[0], max_images)
    images = read(tensor, data, side, max_images)
    coverage = header.parameter(COVERAGE)
    return InferenceRequest(header.id or "", images, *_output_options(header, outputs), coverage, notes)


def parse_json(body: bytes, hint: str = f"send {_EXAMPLE}") -> object:
    """Parse JSON. Raises ApiError, also for a member that is given twice, and for more objects than requests have."""
    counter = itertools.count(1)

    def make_object(members: list[tuple[str, object]]) -> dict[str, object]:
        if len(members) > MAX_MEMBERS or next(counter) > MAX_OBJECTS:
            raise ValueError(f"more than {MAX_OBJECTS} objects, or more than {MAX_MEMBERS} members of one")
        if len(dict(members)) < len(members):
            raise ValueError(f"a member is given twice: {[name[:40] for name, _ in members][:20]}")
        return dict(members)

    try:
        # int refuses NaN and Infinity, which Python takes and JSON has not.
        return json.loads(str(body, "utf-8"), object_pairs_hook=make_object, parse_constant=int)
    except (ValueError, RecursionError) as error:
        raise ApiError("request", f"invalid JSON: {str(error)[:200]}", hint) from error


def _input_name(tensor: _InputTensor, side: int) -> str:
    """Return which of the two inputs a tensor is, by its datatype. Raises ApiError if name or shape contradict it."""
    name = {"UINT8": PIXEL_INPUT, "BYTES": ENCODED_INPUT}.get(tensor.datatype, "")
    shapes = {PIXEL_INPUT: [[side, side, 3]], ENCODED_INPUT: [[], [1]], "": []}
    contradicted = tensor.name in (PIXEL_INPUT, ENCODED_INPUT) and tensor.name != name
    if contradicted or not tensor.shape or tensor.shape[1:] not in shapes[name]:
        raise ApiError(
            "parameters",
            f"this network takes {PIXEL_INPUT}, UINT8 [N, {side}, {side}, 3] (RGB from 0 to 255, not normalised), or"
            f" {ENCODED_INPUT}, BYTES [N] (encoded); got {tensor.name[:40]!r}, {tensor.datatype[:20]} {tensor.shape}",
            f"send {_EXAMPLE}",
        )
    return name


def _notes(header: _RequestHeader) -> dict[str, str]:
    """Return the response's parameters: ignored parts, and the input for which another name was taken."""
    (tensor,), outputs = header.inputs, header.outputs or []
    ignored = header.ignored("binary_data_output", COVERAGE) + tensor.ignored("binary_data_size")
    for output in outputs:
        ignored += output.ignored("binary_data", *(("classification",) if output.name == LOGITS_OUTPUT else ()))
    count = sum(end <= MAX_LISTED for end in itertools.accumulate(len(name) + 2 for name in ignored))
    listed = ignored[:count] + [f"… and {len(ignored) - count} more"] * (count < len(ignored))
    notes = {"ignored": ", ".join(listed)} if ignored else {}
    if tensor.name not in (PIXEL_INPUT, ENCODED_INPUT):
        notes["read_as"] = PIXEL_INPUT if tensor.datatype == "UINT8" else ENCODED_INPUT
    return notes


def _output_options(header: _RequestHeader, available: Collection[str]) -> tuple[list[str], list[str], int]:
    """Return ``outputs``, ``binary`` and ``classes`` of an InferenceRequest. Raises ApiError."""
    outputs = {output.name: output for output in header.outputs or []}
    if len(outputs) < len(header.outputs or []) or not {*outputs} <= {*available, SET_OUTPUT}:
        requested = ", ".join(output.name for output in header.outputs or [])[:200]
        hint = f"the model has {' and '.join(available)}: name each once, or leave outputs out"
        raise ApiError("parameters", f"the request asks for the outputs [{requested}]", hint)
    names = [*outputs] or [name for name in available if name != SET_OUTPUT or header.parameter(COVERAGE) is not None]
    default = header.parameter("binary_data_output", False)
    binary = [outputs[name].parameter("binary_data", default) if name in outputs else default for name in names]
    classes = outputs[LOGITS_OUTPUT].parameter("classification", 0) if LOGITS_OUTPUT in outputs else 0
    if {*map(type, binary)} != {bool} or type(classes) is not int or classes < 0:
        message = f"binary_data is {reprlib.repr(binary)}, classification {reprlib.repr(classes)}"
        raise ApiError("parameters", message, "binary_data is true or false, classification a number of classes")
    return names, list(itertools.compress(names, binary)), classes


def _split_binary_data(header: _RequestHeader, blob: memoryview) -> list[memoryview | None]:
    """Return the binary data of each input, or None where its data are JSON. Raises ApiError."""
    tensors: list[memoryview | None] = []
    for tensor in header.inputs:
        size = tensor.parameter("binary_data_size")
        if size is None:
            tensors.append(None)
            continue
        if tensor.data is not None:
            raise ApiError("request", f"{tensor.name[:40]!r} has both data and binary_data_size", "send one of them")
        if type(size) is not int or not 0 <= size <= len(blob):
            message = f"binary_data_size of {tensor.name[:40]!r} is {reprlib.repr(size)}, {len(blob)} bytes are left"
            raise ApiError("request", message, _BINARY)
        tensors.append(blob[:size])
        blob = blob[size:]
    if blob:
        raise ApiError("request", f"{len(blob)} bytes after the last tensor", _BINARY)
    return tensors


def _read_pixels(tensor: _InputTensor, data: memoryview | None, side: int, max_images: int) -> NDArray[np.uint8]:
    """Return RGB uint8 [N, S, S, 3]. Raises ApiError."""
    count = tensor.shape[0]
    values = _as_uint8(tensor.data) if data is None else np.frombuffer(data, np.uint8)
    if count == -1:
        _check_count(count := values.size // (side * side * 3), max_images)
    shape = (count, side, side, 3)
    # Nested in another way, the numbers may be channels before rows.
    nestings = (values.size,), (count, side * side * 3), shape[1:], shape
    if values.size != math.prod(shape) or values.shape not in nestings:
        size = list(values.shape) if values.ndim > 1 else values.size
        raise ApiError("request", f"values {size} for the shape {tensor.shape}", "send them in that shape, or flat")
    return values.reshape(shape)


def _as_uint8(data: object) -> NDArray[np.uint8]:
    """Return the integers of a JSON list, nested or flat. Raises ApiError."""
    values: list[Any] = data if isinstance(data, list) else []
    shape: list[int] = []
    while len(shape) < 3 and values and isinstance(values[0], list):
        shape.append(size := len(values[0]))
        if any(not isinstance(row, list) or len(row) != size for row in values):
            raise ApiError("request", "the data are no regular array", "send a flat list of numbers")
        values = list(itertools.chain.from_iterable(values))
    if {*map(type, values)} != {int} or min(values) < 0 or max(values) > 255:
        message = "the data are not all integers from 0 to 255"
        raise ApiError("request", message, "send RGB from 0 to 255, without normalisation")
    return np.frombuffer(bytes(values), np.uint8).reshape(-1, *shape)


def _read_encoded_images(tensor: _InputTensor, data: memoryview | None, side: int, max_images: int) -> list[bytes]:
    """Return encoded images. Raises ApiError."""
    count = tensor.shape[0]
    if data is None:
        images = [_decode_base64(element) for element in _json_elements(tensor.data, max_images)]
    else:
        images = _unpack_elements(data, max_images)
    if count == -1:
        _check_count(len(images), max_images)
    elif len(images) != count:
        message = f"{len(images)} images for the shape {tensor.shape}"
        raise ApiError("request", message, "send as many as the shape says, or the shape [-1]")
    return images


def _check_count(count: int, max_images: int) -> None:
    if count < 1:
        raise ApiError("parameters", f"a batch of {count} images", "send at least one")
    if count > max_images:
        raise ApiError("large", f"{count} images in one request, at most {max_images}", "send several requests")


def _json_elements(data: object, max_images: int) -> Iterator[object]:
    """Yield the elements of BYTES in JSON: a string, a list, or a list of lists; at most ``max_images`` + 1."""
    rows = [data] if isinstance(data, str) else data if isinstance(data, list) else []
    elements = (element for row in rows for element in (row if isinstance(row, list) else [row]))
    return itertools.islice(elements, max_images + 1)


def _decode_base64(element: object) -> bytes:
    """Decode base64: standard or URL-safe, with or without line breaks and padding, or a data: URL. Raises ApiError.

    Bytes, which come from gRPC, are not decoded.
    """
    if isinstance(element, bytes):
        return element
    if not isinstance(element, str):
        raise ApiError("request", f"an element of {ENCODED_INPUT} is not a string", _BASE64)
    text = (element.startswith("data:") and element.partition("base64,")[2]) or element
    text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise ApiError("request", f"invalid base64 in {ENCODED_INPUT}: {error}", _BASE64) from error


def _unpack_elements(data: memoryview, max_images: int) -> list[bytes]:
    """Read Triton's binary form of BYTES: length, 4 bytes little-endian, then the element; at most one too many."""
    elements: list[bytes] = []
    while data and len(elements) <= max_images:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 + size:
            raise ApiError("request", f"element {len(elements)} of {ENCODED_INPUT} is cut short", _LENGTHS)
        elements.append(bytes(data[4 : 4 + size]))
        data = data[4 + size :]
    return elements
