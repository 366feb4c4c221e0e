"""Intermediate values of a graph as further outputs, and the linear layer that reads the features.

    layer1 … layer4     float32 [N, C, H, W]  the last block of each stage, as the torch module ``layerN`` gives it
    map                 float32 [N, F, h, w]  the last feature map, the input of the global pooling
    features            float32 [N, F]        the pooled map, which the classifier reads

In an int8 graph ``map`` and ``features`` are the inputs of the next layers: rounded to int8 and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wideresnet.errors import BundleError, EngineError, check_choice, errors_as
from wideresnet.records import MarginScale

MAP, FEATURES = "map", "features"
MARGIN = "margin."                                 # of the names of the nodes and constants of a ``MarginScale``
_BLOCK = re.compile(r"(layer\d+)\.\d+")


def parse_graph(graph: bytes) -> onnx.ModelProto:
    """Parse a serialised graph. Raises EngineError if it is not ONNX."""
    # Protobuf's DecodeError; protobuf comes without types.
    with errors_as(Exception, EngineError, "ONNX cannot open the graph"):
        model: onnx.ModelProto = onnx.ModelProto.FromString(graph)
    return model


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` with further outputs ``names``, in this order after the logits.

    Raises ConfigError for a layer that this network does not have, BundleError for a graph of another tool.
    """
    inner = inner_outputs(model)
    for name in names:
        check_choice("layer", name, inner, hint=f"this network has {', '.join(sorted(inner))}")
    result = deepcopy(model)
    del result.graph.output[1:]                    # a score of calibrated models
    for name in names:
        if inner[name] != name:
            result.graph.node.append(helper.make_node("Identity", [inner[name]], [name], name=name))
        shape = ["batch", None] if name == FEATURES else ["batch", None, None, None]
        result.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(result)
    return result


def inner_outputs(model: onnx.ModelProto) -> dict[str, str]:
    """Return the outputs that ``with_outputs`` can add to this graph: name -> tensor. Raises BundleError."""
    outputs = {}
    for node in model.graph.node:
        if stage := _BLOCK.fullmatch(node.name):
            outputs[stage[1]] = node.output[0]     # the last block of the stage is kept
        elif node.op_type in ("GlobalAveragePool", "GlobalMaxPool"):
            outputs[MAP] = node.input[0]
    outputs[FEATURES] = classifier_node(model).input[0]
    if MAP not in outputs:
        raise BundleError("the graph has no global pooling layer", hint=_EXPORT)
    return outputs


def read_classifier(model: onnx.ModelProto) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weight [C, F] and bias [C] of the linear layer: features @ weight.T + bias = logits.

    Weights stored in int8 are returned as floats, and a temperature divides both. A ``MarginScale`` is not included:
    the graph applies it to the logits.
    Raises BundleError where there is none.
    """
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    producers = {node.output[0]: node for node in model.graph.node}
    scale = np.float32(1 / temperature_of(model))
    weight, bias = (_value(name, constants, producers) for name in classifier_node(model).input[1:])
    return weight * scale, bias * scale


def temperature_of(model: onnx.ModelProto) -> float:
    """Return the temperature that divides the logits. Raises BundleError for factors that are none."""
    node = classifier_node(model)
    factors: dict[str, float] = {attribute.name: attribute.f for attribute in node.attribute}
    alpha, beta = factors.get("alpha", 1.0), factors.get("beta", 1.0)
    if alpha != beta or alpha <= 0:
        raise BundleError(f"the classifier scales weights by {alpha} and biases by {beta}", "calibrate the model again")
    return 1 / alpha


def margin_of(model: onnx.ModelProto) -> MarginScale | None:
    """Return the scale of the logits by their margin, if the graph has one. Raises BundleError for another scale."""
    nodes = [node.op_type for node in model.graph.node if node.name.startswith(MARGIN)]
    if not nodes:
        return None
    constants = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer if c.name.startswith(MARGIN)}
    with errors_as((LookupError, ValueError), BundleError, "the scale of the logits is damaged", "calibrate again"):
        slope, offset = constants[f"{MARGIN}slope"].ravel().tolist(), constants[f"{MARGIN}offset"].item()
        if nodes != ["TopK", "MatMul", "Add", "Mul"] or slope[0] != -slope[1] or offset <= 0 or slope[0] < 0:
            raise ValueError(f"{nodes}, {slope}, {offset}")
    return MarginScale(offset, slope[0])


_EXPORT = "'wrn export' writes graphs that can be looked into"


def classifier_node(model: onnx.ModelProto) -> onnx.NodeProto:
    """Return the node of the linear layer that computes the logits. Raises BundleError where there is none."""
    layers: list[onnx.NodeProto] = [node for node in model.graph.node if node.op_type == "Gemm"]
    if not layers:
        raise BundleError("this graph has no linear layer at its end", hint=_EXPORT)
    return layers[-1]


def _value(
    name: str, constants: Mapping[str, NDArray[np.generic]], producers: Mapping[str, onnx.NodeProto]
) -> NDArray[np.float32]:
    """Return a constant in float32 that is stored in float32, in float16, or in int8 with its scale."""
    if name in constants:
        return constants[name].astype(np.float32)
    node = producers[name]
    value, *quantised = (_value(tensor, constants, producers) for tensor in node.input)
    if node.op_type != "DequantizeLinear":         # a cast
        return value
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    shape = np.ones(value.ndim, np.int64)
    shape[axis] = -1
    scale, zero = (array.reshape(shape) if array.size > 1 else array for array in quantised)
    return (value - zero) * scale
