"""Write the ONNX graph of a network from its tensors.

    images uint8 [batch, S, S, 3] ─ normalise ─ stem ─ blocks ─ pool ─ features [batch, F] ─ fc ─ logits [batch, C]

Why not torch.onnx: whoever only classifies would need torch, and its exporter has open faults on just these
networks (pytorch#157621, #166797). Every tensor and node carries its state-dict name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wideresnet.architectures import LEAKY_SLOPE, Architecture
from wideresnet.errors import WeightsError
from wideresnet.graph.facts import FACTOR, MEAN, VARIANT
from wideresnet.graph.fold import Tensors, conv_with_norm, scale_and_shift
from wideresnet.layers import Block, Conv, Norm
from wideresnet.records import Preprocess

OPSET = 17                                         # read by every OpenVINO and ONNX Runtime since 2022
IR_VERSION = 8
HALF_MAX = 65504                                   # the largest float16
INPUT, FEATURES, OUTPUT = "images", "features", "logits"


def write_graph(
    architecture: Architecture, tensors: Tensors, preprocess: Preprocess, *, half: bool = False
) -> onnx.ModelProto:
    """Return the network as ONNX: RGB uint8 [batch, S, S, 3] -> float32 logits [batch, classes], S = preprocess.crop.

    ``tensors`` has exactly the keys of ``architecture.tensors()``. ``half`` stores the weights of
    convolutions and classifier as float16 (half the file); the arithmetic stays float32.
    """
    net = _Graph(tensors, half, architecture, preprocess.crop)
    x = _normalise(net, preprocess)
    x = _stem(net, x)
    write_block = _BLOCKS[architecture.block]
    for block in architecture.blocks():
        x = write_block(net, block, x)
    if architecture.block == "preact":
        x = net.activate(net.norm(x, "bn"), "relu")
    x = net.add("Flatten", [_pool(net, x)], FEATURES, {"axis": 1})
    bias = net.constant("fc.bias", tensors["fc.bias"].astype(np.float32))
    net.add("Gemm", [x, net.weight("fc.weight", tensors["fc.weight"]), bias], OUTPUT, {"transB": 1})
    return _model(net)


@dataclass
class _Graph:
    """Nodes and constants of the graph so far; every method returns the name of its output."""

    tensors: Tensors
    half: bool
    architecture: Architecture
    side: int                                      # of the images
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        layers = list(self.architecture.layers())
        self.convs = {layer.name: layer for layer in layers if isinstance(layer, Conv)}
        self.norms = {layer.name: layer for layer in layers if isinstance(layer, Norm)}
        self.folded = {norm.conv: norm for norm in self.norms.values() if norm.conv}

    def add(self, op: str, inputs: list[str], output: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a node with one output, both called ``output``."""
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **(attributes or {})))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant. Raises WeightsError for NaN and infinity, which some runtimes do not report."""
        if not np.isfinite(value).all():
            raise WeightsError(f"{name} is NaN or infinite in the graph", hint="the weights are too large or damaged")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a float32 weight, stored as float16 if the graph is ``half``; runtimes undo the cast when opening it."""
        if not self.half:
            return self.constant(name, value.astype(np.float32))
        if np.abs(value).max() > HALF_MAX:
            raise WeightsError(f"{name} is too large for float16", hint="store the weights as f32")
        stored = self.constant(f"{name}.half", value.astype(np.float16))
        return self.add("Cast", [stored], name, {"to": TensorProto.FLOAT})

    def conv(self, x: str, name: str) -> str:
        """Add convolution ``name``, with the batch norm that alone reads it folded in."""
        weight, bias, layer = self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), self.convs[name]
        if norm := self.folded.get(name):
            weight, bias = conv_with_norm(self.tensors, norm)
        inputs = [] if bias is None else [self.constant(f"{name}.bias", bias.astype(np.float32))]
        before, after = layer.pads(math.ceil(self.side / (layer.reduction // layer.stride)))
        pads = [before, before, after, after]
        attributes = {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2, "pads": pads}
        return self.add("Conv", [x, self.weight(f"{name}.weight", weight), *inputs], name, attributes)

    def norm(self, x: str, name: str) -> str:
        """Add a batch norm that cannot be folded, because it does not alone read a convolution."""
        parts = scale_and_shift(self.tensors, self.norms[name])
        scale, shift = (part.astype(np.float32)[:, None, None] for part in parts)
        scaled = self.add("Mul", [x, self.constant(f"{name}.scale", scale)], f"{name}.scaled")
        return self.add("Add", [scaled, self.constant(f"{name}.shift", shift)], name)

    def activate(self, x: str, name: str) -> str:
        """Add the activation: max(x, 0), max(x, 0.1 x) or x sigmoid(x)."""
        match self.architecture.activation:
            case "relu":
                return self.add("Relu", [x], name)
            case "leaky_relu":
                return self.add("LeakyRelu", [x], name, {"alpha": LEAKY_SLOPE})
            case "silu":
                return self.add("Mul", [x, self.add("Sigmoid", [x], f"{name}.sigmoid")], name)


def normalisation_constants(preprocess: Preprocess) -> dict[str, NDArray[np.float32]]:
    """Return the constants of the graph that normalise pixels in 0..255, float32 [3] each, by name."""
    mean, std = 255 * np.array(preprocess.mean), 255 * np.array(preprocess.std)
    return {MEAN: mean.astype(np.float32), FACTOR: (1 / std).astype(np.float32)}


def _normalise(net: _Graph, preprocess: Preprocess) -> str:
    """uint8 NHWC in 0..255 -> float32 NCHW, (x / 255 - mean) / std."""
    constants = normalisation_constants(preprocess)
    x = net.add("Cast", [INPUT], "input.float", {"to": TensorProto.FLOAT})
    x = net.add("Sub", [x, net.constant(MEAN, constants[MEAN])], "input.centred")
    x = net.add("Mul", [x, net.constant(FACTOR, constants[FACTOR])], "input.normalised")
    return net.add("Transpose", [x], "input.nchw", {"perm": [0, 3, 1, 2]})


def _stem(net: _Graph, x: str) -> str:
    x = net.conv(x, "conv1")
    if "bn1" in net.norms:
        x = net.activate(x, "relu")
    if net.architecture.family == "cifar":
        return x
    return net.add("MaxPool", [x], "maxpool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4})


def _preact(net: _Graph, block: Block, x: str) -> str:
    """BN-ReLU-conv twice and a shortcut (Figure 1 c, d); the second batch norm goes into the first convolution."""
    name = block.name
    activated = net.activate(net.norm(x, f"{name}.bn1"), f"{name}.relu1") if block.activated_input else x
    y = net.conv(activated, f"{name}.conv1")
    y = net.conv(net.activate(y, f"{name}.relu2"), f"{name}.conv2")
    shortcut = activated if block.activated_shortcut else x
    return net.add("Add", [y, net.conv(shortcut, f"{name}.shortcut") if block.project else shortcut], name)


def _postact(net: _Graph, block: Block, x: str) -> str:
    """conv-BN-ReLU-conv, a shortcut, BN-ReLU."""
    name = block.name
    y = net.conv(net.activate(net.conv(x, f"{name}.conv1"), f"{name}.relu1"), f"{name}.conv2")
    shortcut = net.conv(x, f"{name}.shortcut") if block.project else x
    return net.activate(net.norm(net.add("Add", [y, shortcut], f"{name}.sum"), f"{name}.bn2"), name)


def _imagenet(net: _Graph, block: Block, x: str) -> str:
    """conv-BN(-ReLU) twice or three times, a shortcut, ReLU (Figure 1 a, b)."""
    name, count = block.name, 3 if f"{block.name}.conv3.weight" in net.tensors else 2
    y = x
    for index in range(1, count + 1):
        y = net.conv(y, f"{name}.conv{index}")
        if index < count:
            y = net.activate(y, f"{name}.relu{index}")
    if block.project:
        x = net.conv(x, f"{name}.downsample.0")
    return net.activate(net.add("Add", [y, x], f"{name}.sum"), name)


_BLOCKS = {"preact": _preact, "postact": _postact, "basic": _imagenet, "bottleneck": _imagenet}


def _pool(net: _Graph, x: str) -> str:
    """Reduce [N, F, h, w] to [N, F, 1, 1]."""
    match net.architecture.pool:
        case "avg":
            return net.add("GlobalAveragePool", [x], "pool")
        case "max":
            return net.add("GlobalMaxPool", [x], "pool")
        case "avgmax":
            pooled = [net.add(f"Global{kind}Pool", [x], f"pool.{kind}") for kind in ("Average", "Max")]
            return net.add("Mean", pooled, "pool")


def _model(net: _Graph) -> onnx.ModelProto:
    architecture = net.architecture
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", net.side, net.side, 3])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", architecture.classes])
    graph = helper.make_graph(net.nodes, architecture.name, [images], [logits], net.constants)
    model = helper.make_model(
        graph, producer_name="wideresnet", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    if variant := architecture.variant():
        helper.set_model_props(model, {VARIANT: json.dumps(variant)})
    onnx.checker.check_model(model)
    return model
