"""Messages to the documents that ``serve/protocol`` checks, and output tensors to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from wideresnet.serve.grpc.descriptors import message_class
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.protocol import MAX_JSON, MAX_MEMBERS, MAX_OBJECTS, InferenceRequest
from wideresnet.serve.responses import OutputTensor
from wideresnet.serve.versions import split_name

_CONTENTS = {"UINT8": "uint_contents", "BYTES": "bytes_contents"}
_RAW_TAG = 7 << 3 | 2                              # of raw_input_contents in a ModelInferRequest
_RAW = "send large tensors in raw_input_contents"
_SIZES = {1: 8, 5: 4}                              # bytes of a value, by its wire type


def parse_message(kind: Any, data: bytes) -> Any:
    """Parse a message of the class ``kind``. Raises ApiError."""
    check_size(data)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        message = f"not a {kind.DESCRIPTOR.name}: {error}"
        raise ApiError("request", message, "server reflection lists the messages") from error


def check_size(data: bytes) -> None:
    """Raise ApiError for more fields than MAX_OBJECTS, or more bytes outside ``raw_input_contents`` than MAX_JSON.

    Parsed, these can take 32 times as much memory.
    """
    position = length = 0
    for _ in range(MAX_OBJECTS):
        start, size = position, 0
        tag, position = _read_varint(data, position)
        if tag & 7 in (0, 2):
            size, position = _read_varint(data, position)
        position += size if tag & 7 == 2 else _SIZES.get(tag & 7, 0)
        length += 0 if tag == _RAW_TAG else position - start
        if position > len(data):
            raise ApiError("request", "the message is cut short", "send it again")
        if position == len(data):
            if length > MAX_JSON:
                message = f"{length:,} bytes beside raw_input_contents, at most {MAX_JSON:,}"
                raise ApiError("large", message, _RAW)
            return
    raise ApiError("large", f"more than {MAX_OBJECTS} fields", "send one input")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return a number and the position after it; 0 at the end."""
    value = 0
    for shift, byte in enumerate(data[position : position + 10], 1):
        value |= (byte & 127) << 7 * (shift - 1)
        if byte < 128:
            return value, position + shift
    return value, len(data)


def request_document(message: Any, max_images: int) -> tuple[dict[str, Any], memoryview]:
    """ModelInferRequest -> the document and the binary data of the same request over HTTP. Raises ApiError."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        counts = f"{len(message.inputs)} inputs and {len(raw)} raw_input_contents"
        raise ApiError("request", counts, "send one for each input, in their order, or none")
    inputs = [
        {
            "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape[:9],
            "parameters": _values(tensor.parameters), "data": _contents(tensor, max_images),
        }
        for tensor in message.inputs
    ]  # fmt: skip
    for tensor, data in zip(inputs, raw, strict=False):
        tensor["parameters"]["binary_data_size"] = len(data)
    outputs = [{"name": output.name, "parameters": _values(output.parameters)} for output in message.outputs]
    parameters = {"binary_data_output": bool(raw)} | _values(message.parameters)
    document = {"id": message.id, "parameters": parameters, "inputs": inputs, "outputs": outputs or None}
    return document, memoryview(b"".join(raw))


def _values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by their names. Raises ApiError for too many."""
    if len(parameters) > MAX_MEMBERS:
        raise ApiError("request", f"more than {MAX_MEMBERS} parameters", "leave out those without effect")
    choices = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, choice) if choice else None for name, value, choice in choices}


def _contents(tensor: Any, max_images: int) -> list[Any] | None:
    """Return the typed contents of a tensor, None without any; at most one image too many. Raises ApiError."""
    fields = {field.name: values for field, values in tensor.contents.ListFields()}
    name = _CONTENTS.get(tensor.datatype, "")
    if name and {*fields} - {name}:
        message = f"{tensor.datatype} data of {tensor.name[:40]!r} in {', '.join(fields)}"
        raise ApiError("request", message, f"send them in {name}, or all in raw_input_contents")
    return fields[name][: max_images + 1 if name == "bytes_contents" else None] if name in fields else None


def response_message(request: InferenceRequest, model: str, tensors: Sequence[OutputTensor]) -> Any:
    """Return the ModelInferResponse with the outputs of a request."""
    name, version = split_name(model)
    message = message_class("inference.ModelInferResponse")(model_name=name, model_version=version, id=request.id)
    for key, text in request.notes.items():
        message.parameters[key].string_param = text
    for tensor in tensors:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.values.shape)
        if request.binary:
            message.raw_output_contents.append(tensor.pack())
        elif tensor.datatype != "BYTES":
            contents = output.contents.fp32_contents if tensor.datatype == "FP32" else output.contents.bool_contents
            contents.extend(tensor.values.ravel().tolist())
        else:
            output.contents.bytes_contents.extend(element.encode() for element in tensor.values.ravel())
    return message
