"""Responses of the Open Inference Protocol: outputs to tensors, and those to the body of an HTTP response."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import top_k
from wideresnet.records import Labels
from wideresnet.report.escape import json_text
from wideresnet.serve.protocol import HEADER_LENGTH, LOGITS_OUTPUT, InferenceRequest
from wideresnet.serve.versions import split_name

Outputs = Mapping[str, NDArray[Any]]               # by name, each [N, ...]


@dataclass(frozen=True, eq=False)
class OutputTensor:
    """One output: ``values`` are numbers (FP32 [N, C]), truth values (BOOL [N, C]), or strings (BYTES [N, k])."""

    name: str
    values: NDArray[Any]

    @property
    def datatype(self) -> str:
        """The protocol's name of the type."""
        return {"O": "BYTES", "b": "BOOL"}.get(self.values.dtype.kind, "FP32")

    def pack(self) -> bytes:
        """Return the values as binary data."""
        if self.datatype != "BYTES":
            return self.values.astype("?" if self.datatype == "BOOL" else "<f4").tobytes()
        encoded = [element.encode() for element in self.values.ravel()]
        return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def output_tensors(request: InferenceRequest, values: Outputs, labels: Labels) -> list[OutputTensor]:
    """Return the outputs that a request asks for; ``values``: all that the model has."""
    if request.classes:
        rows = top_k(values[LOGITS_OUTPUT], labels, request.classes)
        elements = [[f"{score.probability:.6f}:{score.index}:{score.label}" for score in row] for row in rows]
        values = {**values, LOGITS_OUTPUT: np.array(elements, object)}
    return [OutputTensor(name, values[name]) for name in request.outputs]


def render_response(
    request: InferenceRequest, model: str, values: Outputs, labels: Labels
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a response over HTTP; see ``output_tensors``."""
    outputs, blob = [], b""
    for tensor in output_tensors(request, values, labels):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.values.shape)}
        if tensor.name in request.binary:
            packed = tensor.pack()
            blob += packed
            output["parameters"] = {"binary_data_size": len(packed)}
        else:
            output["data"] = tensor.values.ravel().tolist()
        outputs.append(output)
    name, version = split_name(model)
    response: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": outputs}
    response |= ({"id": request.id} if request.id else {}) | ({"parameters": request.notes} if request.notes else {})
    header = json_text(response).encode()
    if not request.binary:
        return header, {"Content-Type": "application/json"}
    return header + blob, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
