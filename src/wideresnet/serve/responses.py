"""Responses of the Open Inference Protocol: logits to output tensors, and those to the body of an HTTP response."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import top_k
from wideresnet.records import Labels
from wideresnet.report.escape import json_text
from wideresnet.serve.protocol import HEADER_LENGTH, KNOWN_OUTPUT, LOGITS_OUTPUT, InferenceRequest
from wideresnet.serve.versions import split_name


@dataclass(frozen=True, eq=False)
class OutputTensor:
    """One output: ``values`` are numbers, rendered as FP32 [N, C], or strings, rendered as BYTES [N, k]."""

    name: str
    values: NDArray[Any]

    @property
    def datatype(self) -> str:
        """The protocol's name of the type."""
        return "BYTES" if self.values.dtype == object else "FP32"

    def pack(self) -> bytes:
        """Return the values as binary data."""
        if self.datatype == "FP32":
            return self.values.astype("<f4").tobytes()
        encoded = [element.encode() for element in self.values.ravel()]
        return b"".join(struct.pack("<I", len(element)) + element for element in encoded)


def output_tensors(
    request: InferenceRequest, logits: NDArray[np.float32], labels: Labels, p_values: Sequence[float] = ()
) -> list[OutputTensor]:
    """float32 [N, C] -> the outputs that a request asks for; ``p_values`` [N] of calibrated models."""
    values: dict[str, NDArray[Any]] = {LOGITS_OUTPUT: logits, KNOWN_OUTPUT: np.array(p_values)[:, None]}
    if request.classes:
        rows = top_k(logits, labels, request.classes)
        elements = [[f"{score.probability:.6f}:{score.index}:{score.label}" for score in row] for row in rows]
        values[LOGITS_OUTPUT] = np.array(elements, object)
    return [OutputTensor(name, values[name]) for name in request.outputs]


def render_response(
    request: InferenceRequest, model: str, logits: NDArray[np.float32], labels: Labels, p_values: Sequence[float] = ()
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a response over HTTP; see ``output_tensors``."""
    outputs, blob = [], b""
    for tensor in output_tensors(request, logits, labels, p_values):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.values.shape)}
        if request.binary and tensor.name == LOGITS_OUTPUT:
            blob = tensor.pack()
            output["parameters"] = {"binary_data_size": len(blob)}
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
