"""The Open Inference Protocol, version 2, with its binary tensor extension: a body to pictures, logits to a body.

https://github.com/kserve/open-inference-protocol, and Triton's extensions "binary_tensor_data" and
"classification". Inputs, one of the two:

    images     UINT8 [N, S, S, 3]    RGB, as ``wideresnet.preprocess`` makes them
    pictures   BYTES [N]             encoded pictures (in JSON: base64)

Output: ``logits`` FP32 [N, C]; with its parameter ``classification`` k, BYTES [N, k] of "probability:index:label".
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wideresnet.images.top_k import top_k
from wideresnet.records import Labels, ModelCard
from wideresnet.report.escape import json_text
from wideresnet.serve.problems import Refused

IMAGES, PICTURES, LOGITS = "images", "pictures", "logits"
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_JSON = 4 * 2**20                               # bytes; read, they can become 25 times as many
VERSION = "1"                                      # a model has one; another graph under its name is a reload


class _Input(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str
    shape: list[int] = Field(max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class _Output(BaseModel):
    name: str
    parameters: dict[str, Any] = {}


class _Header(BaseModel):
    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[_Input]
    outputs: list[_Output] = [_Output(name=LOGITS)]


@dataclass(frozen=True, eq=False)
class Asked:
    """What one request wants. ``classes`` 0: the logits themselves; ``binary``: not as JSON."""

    id: str
    source: NDArray[np.uint8] | list[bytes]
    binary: bool
    classes: int

    def parts(self, most: int) -> list[bytes] | list[NDArray[np.uint8]]:
        """The pictures one by one, or the tensor in batches of ``most``."""
        if isinstance(self.source, list):
            return self.source
        return [self.source[start : start + most] for start in range(0, len(self.source), most)]


def server_metadata(version: str) -> dict[str, Any]:
    """``GET /v2``"""
    return {"name": "wideresnet", "version": version, "extensions": ["binary_tensor_data", "classification"]}


def model_metadata(name: str, card: ModelCard, runtime: str) -> dict[str, Any]:
    """``GET /v2/models/NAME``"""
    side = card.preprocess.crop
    return {
        "name": name,
        "versions": [VERSION],
        "platform": f"onnx_{runtime}",
        "inputs": [
            {"name": IMAGES, "datatype": "UINT8", "shape": [-1, side, side, 3]},
            {"name": PICTURES, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": LOGITS, "datatype": "FP32", "shape": [-1, card.classes]}],
    }


def parse(body: bytes, header_length: str | None, side: int, most: int) -> Asked:
    """The body of ``…/infer`` for a network of ``side`` pixels. Raises Refused for what it cannot be."""
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:12]) > len(body):
            raise Refused("request", f"{HEADER_LENGTH} is {header_length[:20]!r}, the body has {len(body)} bytes")
        length = int(header_length)
    if length > MAX_JSON:
        raise Refused("large", f"{length:,} bytes of JSON, at most {MAX_JSON:,}", "send the tensor as binary data")
    try:
        header = _Header.model_validate_json(body[:length])
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))
        raise Refused("request", f"no inference request: {where + ': ' if where else ''}{fault['msg']}") from error
    tensors = _tensors(header, memoryview(body)[length:])
    if len(header.inputs) != 1 or header.inputs[0].name not in (IMAGES, PICTURES):
        names = ", ".join(each.name for each in header.inputs)
        raise Refused("parameters", f"the inputs are [{names}]", f"give one of {IMAGES} and {PICTURES}")
    given, data = header.inputs[0], tensors[0]
    read = _images if given.name == IMAGES else _pictures
    return Asked(header.id, read(given, data, side, most), *_wanted(header))


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
    header = json_text(answer | ({"id": asked.id} if asked.id else {})).encode()
    if not asked.binary:
        return header, {"Content-Type": "application/json"}
    return header + blob, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def _tensors(header: _Header, rest: memoryview) -> list[memoryview | None]:
    """The binary data of each input, or None where it is JSON."""
    found: list[memoryview | None] = []
    for each in header.inputs:
        size = each.parameters.get("binary_data_size")
        if size is None:
            found.append(None)
            continue
        if type(size) is not int or not 0 <= size <= len(rest):
            raise Refused("request", f"binary_data_size of {each.name!r} is {size!r}, {len(rest)} bytes are left")
        found.append(rest[:size])
        rest = rest[size:]
    if rest:
        raise Refused("request", f"{len(rest)} bytes after the last tensor", "binary_data_size says how many are its")
    return found


def _images(given: _Input, data: memoryview | None, side: int, most: int) -> NDArray[np.uint8]:
    """uint8 [N, S, S, 3]"""
    if given.datatype != "UINT8" or given.shape[1:] != [side, side, 3]:
        raise Refused(
            "parameters",
            f"this network takes UINT8 [N, {side}, {side}, 3], got {given.datatype} {given.shape}",
            f"or send encoded pictures as {PICTURES}, BYTES [N]",
        )
    _check_count(given.shape[0], most)
    values = _array(given.data) if data is None else np.frombuffer(data, np.uint8)
    if values.size != math.prod(given.shape):
        raise Refused("request", f"{values.size} values for the shape {given.shape}")
    return values.reshape(given.shape)


def _array(data: object) -> NDArray[np.uint8]:
    """Numbers of a JSON list, nested or flat."""
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise Refused("request", "the data are no regular array") from error
    if values.dtype.kind not in "iu" or values.size == 0 or values.min() < 0 or values.max() > 255:
        raise Refused("request", "the data are not all whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _pictures(given: _Input, data: memoryview | None, side: int, most: int) -> list[bytes]:
    """Encoded pictures; ``side`` does not matter to them."""
    if given.datatype != "BYTES" or len(given.shape) not in (1, 2) or given.shape[1:] not in ([], [1]):
        raise Refused("parameters", f"{PICTURES} are BYTES [N], got {given.datatype} {given.shape}")
    _check_count(given.shape[0], most)
    found = _base64(given.data) if data is None else _unpack(data, given.shape[0])
    if len(found) != given.shape[0]:
        raise Refused("request", f"{len(found)} pictures for the shape {given.shape}")
    return found


def _check_count(count: int, most: int) -> None:
    if count < 1:
        raise Refused("parameters", f"a batch of {count} pictures", "send at least one")
    if count > most:
        raise Refused("large", f"{count} pictures in one request, at most {most}", "send several requests")


def _base64(data: object) -> list[bytes]:
    words = data if isinstance(data, list) else []
    words = [word for row in words for word in (row if isinstance(row, list) else [row])]
    try:
        return [base64.b64decode(word, validate=True) for word in words]
    except (TypeError, ValueError, binascii.Error) as error:
        raise Refused("request", f"{PICTURES} in JSON are base64: {error}", "or send them as binary data") from error


def _unpack(data: memoryview, most: int) -> list[bytes]:
    """Triton's form of BYTES: before each element its length, 4 bytes, little-endian. One over ``most`` at most."""
    found: list[bytes] = []
    while data and len(found) <= most:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 + size:
            raise Refused("request", f"element {len(found)} of {PICTURES} is cut short")
        found.append(bytes(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def _pack(words: Sequence[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"".join(struct.pack("<I", len(word)) + word for word in encoded)


def _wanted(header: _Header) -> tuple[bool, int]:
    """Whether the output is binary, and how many classes of it."""
    if [each.name for each in header.outputs] not in ([], [LOGITS]):
        names = ", ".join(each.name for each in header.outputs)
        raise Refused("parameters", f"the outputs are [{names}]", f"there is one: {LOGITS}")
    parameters = header.outputs[0].parameters if header.outputs else {}
    binary = parameters.get("binary_data", header.parameters.get("binary_data_output", False))
    classes = parameters.get("classification", 0)
    if type(binary) is not bool or type(classes) is not int or classes < 0:
        raise Refused("parameters", f"binary_data is {binary!r}, classification {classes!r}")
    return binary, classes
