"""Read ONNX graphs of these networks that other tools wrote: architecture and state dict.

Exporters rename tensors and fold batch norms, so that names say little. The structure remains: convolutions in the
order of computation, identified by shape and stride, each followed by its batch norm or with the bias of a folded one.
The caller checks that the result computes the same, by running both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wideresnet.architectures import ARCHITECTURES, Architecture, wrn
from wideresnet.errors import BundleError
from wideresnet.graph.check import refuse_damage
from wideresnet.graph.fold import EPSILON, affine, unfolded
from wideresnet.layers import Conv, Norm

Array = NDArray[Any]


@refuse_damage()
def read_foreign(model: onnx.ModelProto, expected: Architecture | None = None) -> tuple[Architecture, dict[str, Array]]:
    """Return the architecture of a float graph, with its number of classes, and its tensors by state-dict name.

    Folded batch norms come back as equivalents, as in ``read_graph``. ``expected``: this architecture or none. Raises
    BundleError for a graph of another family.
    """
    parts = _parts(model.graph)
    reason = "it has no classifier of two classes or more, or no convolution"
    tried = [expected] if expected else _candidates(parts)
    for candidate in tried if len(parts.bias) > 1 else ():
        architecture = replace(candidate, classes=len(parts.bias))
        try:
            return architecture, _tensors(parts, architecture)
        except _Mismatch as error:
            reason = error.args[0] if expected else "its convolutions are those of no network known here"
    hint = "leave out --architecture" if expected else "'wrn export --architecture NAME' shows what differs"
    raise BundleError(f"no graph of this family: {reason}", hint=hint)


class _Mismatch(Exception):
    """The reason why a graph is not of an architecture."""


@dataclass
class _Conv:
    """A convolution of the graph, with the scale and shift [c_out] of the norm after it, if any."""

    weight: Array
    stride: int
    affine: tuple[Array, Array] | None


@dataclass
class _Parts:
    """The weights of a graph, in its order. ``norms`` are those that follow no convolution."""

    convs: list[_Conv]
    norms: list[tuple[Array, Array]]
    weight: Array                                  # of the classifier [classes, features]
    bias: Array


def _parts(graph: onnx.GraphProto) -> _Parts:
    parts = _Parts([], [], np.empty((0, 0)), np.empty(0))
    constants, by_output = _constants(graph), dict[str, _Conv]()
    linear = ""                                    # the output of a MatMul whose bias is added later
    for node in graph.node:
        weights = [constants[name] for name in node.input if name in constants]
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Conv" and weights:
            bias = (np.ones(len(weights[1])), weights[1]) if len(weights) > 1 else None
            conv = _Conv(weights[0], attributes.get("strides", [1])[0], bias)
            parts.convs.append(conv)
            by_output[node.output[0]] = conv
        elif node.op_type == "BatchNormalization" and len(weights) == 4:
            scale, shift = affine(weights, attributes.get("epsilon", EPSILON))
            if before := by_output.get(node.input[0]):
                before.affine = scale, shift + scale * (before.affine[1] if before.affine else 0)
            else:
                parts.norms.append((scale, shift))
        elif node.op_type == "Gemm" and len(weights) == 2:
            parts.weight, parts.bias = weights[0] if attributes.get("transB") else weights[0].T, weights[1]
        elif node.op_type == "MatMul" and len(weights) == 1:
            parts.weight, linear = weights[0].T, node.output[0]
        elif node.op_type == "Add" and linear in node.input and weights:
            parts.bias = weights[0].ravel()
    return parts


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Return constants by name: initialisers, Constant nodes, and Identity nodes of either."""
    constants = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def _candidates(parts: _Parts) -> Iterator[Architecture]:
    """Yield the known networks, and the WRN-n-k that the number of convolutions suggests."""
    if not parts.convs:
        return
    yield from ARCHITECTURES.values()
    widen, blocks = parts.weight.shape[1] // 64, (len(parts.convs) - 3) // 6
    if widen and blocks:
        yield wrn(6 * blocks + 4, widen)


def _tensors(parts: _Parts, architecture: Architecture) -> dict[str, Array]:
    """Return the state dict. Raises _Mismatch where the graph is not of the architecture."""
    convs, norms = list(parts.convs), list(parts.norms)
    tensors: dict[str, Array] = {}
    last: _Conv | None = None
    for layer in architecture.layers():
        if isinstance(layer, Norm):
            affine = last.affine if last and last.affine else norms.pop(0) if norms else None
            if affine is None or len(affine[1]) != layer.channels:
                raise _Mismatch(f"no batch norm of {layer.channels} channels is where {layer.name} should be")
            tensors |= unfolded(*affine, layer)
            last = None
            continue
        if last and last.affine:
            raise _Mismatch(f"something follows the convolution before {layer.name}")
        if isinstance(layer, Conv):
            last = _take(convs, layer)
            tensors[f"{layer.name}.weight"] = last.weight.astype(np.float32)
        elif parts.weight.shape != (layer.c_out, layer.c_in):
            raise _Mismatch(f"the classifier takes {parts.weight.shape[1]} features instead of {layer.c_in}")
        else:
            tensors[f"{layer.name}.weight"] = parts.weight.astype(np.float32)
            tensors[f"{layer.name}.bias"] = parts.bias.astype(np.float32)
    if convs or norms:
        raise _Mismatch(f"{len(convs)} convolutions and {len(norms)} batch norms are left over")
    return {key: tensors[key] for key in architecture.tensors()}


def _take(convs: list[_Conv], layer: Conv) -> _Conv:
    """Remove and return the first convolution of this shape and stride."""
    shape = (layer.c_out, layer.c_in, layer.kernel, layer.kernel)
    for index, conv in enumerate(convs):
        if conv.weight.shape == shape and conv.stride == layer.stride:
            return convs.pop(index)
    raise _Mismatch(f"no convolution is left for {layer.name}: {list(shape)}, stride {layer.stride}")
