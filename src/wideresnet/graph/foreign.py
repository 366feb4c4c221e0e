"""Other people's ONNX graphs of these networks -> architecture and state dict.

Exporters rename tensors and fold batch norms, so that names say little. What stays is the structure: convolutions
in the order in which they are computed, known by shape and stride, each followed by its batch norm, or with the bias
that one left behind. Whether the result computes the same is for the caller to check, by running both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wideresnet.architectures import ARCHITECTURES, Architecture, Conv, Norm, wrn
from wideresnet.errors import BundleError
from wideresnet.graph.fold import EPSILON, affine, unfolded

Array = NDArray[Any]


def read_foreign(model: onnx.ModelProto, wanted: Architecture | None = None) -> tuple[Architecture, dict[str, Array]]:
    """The architecture of a float graph, with its number of classes, and its tensors by state-dict name.

    Folded batch norms come back as equivalents, as in ``read_graph``. ``wanted``: this architecture or none. Raises
    BundleError for a graph of another family.
    """
    parts = _parts(model.graph)
    reason = "it has no classifier, or no convolution"
    for candidate in [wanted] if wanted else _candidates(parts):
        architecture = replace(candidate, classes=len(parts.bias))
        try:
            return architecture, _tensors(parts, architecture)
        except _Mismatch as error:
            reason = error.args[0] if wanted else "its convolutions are those of no network known here"
    hint = "leave out --architecture" if wanted else "'wrn export --architecture NAME' shows what differs"
    raise BundleError(f"no graph of this family: {reason}", hint=hint)


class _Mismatch(Exception):
    """A graph is not of an architecture; says why."""


@dataclass
class _Conv:
    """A convolution as it was found, with the scale and shift [c_out] of what follows it, if any."""

    weight: Array
    stride: int
    affine: tuple[Array, Array] | None


@dataclass
class _Parts:
    """What of a graph holds weights, in its order. ``norms`` are those that follow no convolution."""

    convs: list[_Conv]
    norms: list[tuple[Array, Array]]
    weight: Array                                  # of the classifier [classes, features]
    bias: Array


def _parts(graph: onnx.GraphProto) -> _Parts:
    parts = _Parts([], [], np.empty((0, 0)), np.empty(0))
    constants, by_output = _constants(graph), dict[str, _Conv]()
    linear = ""                                    # the output of a MatMul whose bias is added later
    for node in graph.node:
        known = [constants[name] for name in node.input if name in constants]
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Conv" and known:
            bias = (np.ones(len(known[1])), known[1]) if len(known) > 1 else None
            conv = _Conv(known[0], attributes.get("strides", [1])[0], bias)
            parts.convs.append(conv)
            by_output[node.output[0]] = conv
        elif node.op_type == "BatchNormalization" and len(known) == 4:
            scale, shift = affine(known, attributes.get("epsilon", EPSILON))
            if before := by_output.get(node.input[0]):
                before.affine = scale, shift + scale * (before.affine[1] if before.affine else 0)
            else:
                parts.norms.append((scale, shift))
        elif node.op_type == "Gemm" and len(known) == 2:
            parts.weight, parts.bias = known[0] if attributes.get("transB") else known[0].T, known[1]
        elif node.op_type == "MatMul" and len(known) == 1:
            parts.weight, linear = known[0].T, node.output[0]
        elif node.op_type == "Add" and linear in node.input and known:
            parts.bias = known[0].ravel()
    return parts


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Every constant by name: initialisers, Constant nodes, and what is identical to one."""
    found = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _candidates(parts: _Parts) -> Iterator[Architecture]:
    """The known networks, and the WRN-n-k that the number of convolutions suggests."""
    if not parts.convs or not len(parts.bias):
        return
    yield from ARCHITECTURES.values()
    widen, blocks = parts.weight.shape[1] // 64, (len(parts.convs) - 3) // 6
    if widen and blocks:
        yield wrn(6 * blocks + 4, widen)


def _tensors(parts: _Parts, architecture: Architecture) -> dict[str, Array]:
    """The state dict. Raises _Mismatch."""
    convs, norms = list(parts.convs), list(parts.norms)
    found: dict[str, Array] = {}
    last: _Conv | None = None
    for layer in architecture.layers():
        if isinstance(layer, Norm):
            affine = last.affine if last and last.affine else norms.pop(0) if norms else None
            if affine is None or len(affine[1]) != layer.channels:
                raise _Mismatch(f"no batch norm of {layer.channels} channels is where {layer.name} should be")
            found |= unfolded(*affine, layer.name)
            last = None
            continue
        if last and last.affine:
            raise _Mismatch(f"something follows the convolution before {layer.name}")
        if isinstance(layer, Conv):
            last = _take(convs, layer)
            found[f"{layer.name}.weight"] = last.weight.astype(np.float32)
        elif parts.weight.shape != (layer.c_out, layer.c_in):
            raise _Mismatch(f"the classifier takes {parts.weight.shape[1]} features instead of {layer.c_in}")
        else:
            found[f"{layer.name}.weight"] = parts.weight.astype(np.float32)
            found[f"{layer.name}.bias"] = parts.bias.astype(np.float32)
    if convs or norms:
        raise _Mismatch(f"{len(convs)} convolutions and {len(norms)} batch norms are left over")
    return {key: found[key] for key in architecture.tensors()}


def _take(convs: list[_Conv], layer: Conv) -> _Conv:
    """The first convolution left of this shape and stride."""
    shape = (layer.c_out, layer.c_in, layer.kernel, layer.kernel)
    for place, conv in enumerate(convs):
        if conv.weight.shape == shape and conv.stride == layer.stride:
            return convs.pop(place)
    raise _Mismatch(f"no convolution is left for {layer.name}: {list(shape)}, stride {layer.stride}")
