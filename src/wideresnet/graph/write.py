"""Write the ONNX graph of a network from its tensors.

    images uint8 [batch, S, S, 3] ─ normalise ─ stem ─ blocks ─ mean ─ features [batch, F] ─ fc ─ logits [batch, C]

Why not torch.onnx: whoever only classifies would need torch, and its exporter has open faults on just these
networks (pytorch#157621, #166797). Every tensor and node carries its state-dict name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wideresnet.architectures import Architecture
from wideresnet.errors import WeightsError
from wideresnet.graph.fold import Tensors, conv_with_norm, scale_and_shift
from wideresnet.layers import Block
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
    net = _Graph(tensors, half)
    x = _normalise(net, preprocess)
    x = _stem(net, architecture, x)
    write_block = _preact if architecture.block == "preact" else _postact
    for block in architecture.blocks():
        x = write_block(net, block, x)
    if architecture.family == "cifar":
        x = net.relu(net.norm(x, "bn"), "relu")
    x = net.add("GlobalAveragePool", [x], "pool")
    x = net.add("Flatten", [x], FEATURES, {"axis": 1})
    bias = net.constant("fc.bias", tensors["fc.bias"].astype(np.float32))
    net.add("Gemm", [x, net.weight("fc.weight", tensors["fc.weight"]), bias], OUTPUT, {"transB": 1})
    return _model(net, architecture, preprocess.crop)


@dataclass
class _Graph:
    """Nodes and constants of the graph so far; every method returns the name of its output."""

    tensors: Tensors
    half: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

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
            raise WeightsError(f"{name} is too large for float16", hint="store the weights as fp32")
        stored = self.constant(f"{name}.half", value.astype(np.float16))
        return self.add("Cast", [stored], name, {"to": TensorProto.FLOAT})

    def conv(self, x: str, name: str, stride: int, norm: str | None = None) -> str:
        """Add convolution ``name``, with the batch norm ``norm`` folded in if given."""
        if norm is None:
            weight, inputs = self.tensors[f"{name}.weight"], []
        else:
            weight, bias = conv_with_norm(self.tensors, name, norm)
            inputs = [self.constant(f"{name}.bias", bias.astype(np.float32))]
        kernel = weight.shape[-1]
        pads = [kernel // 2] * 4
        attributes: dict[str, object] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads}
        return self.add("Conv", [x, self.weight(f"{name}.weight", weight), *inputs], name, attributes)

    def norm(self, x: str, name: str) -> str:
        """Add a batch norm that cannot be folded, because it follows a sum and not a convolution."""
        scale, shift = (v.astype(np.float32)[:, None, None] for v in scale_and_shift(self.tensors, name))
        scaled = self.add("Mul", [x, self.constant(f"{name}.scale", scale)], f"{name}.scaled")
        return self.add("Add", [scaled, self.constant(f"{name}.shift", shift)], name)

    def relu(self, x: str, name: str) -> str:
        """max(x, 0)."""
        return self.add("Relu", [x], name)


def _normalise(net: _Graph, preprocess: Preprocess) -> str:
    """uint8 NHWC in 0..255 -> float32 NCHW, (x / 255 - mean) / std."""
    mean = (255 * np.array(preprocess.mean)).astype(np.float32)
    factor = (1 / (255 * np.array(preprocess.std))).astype(np.float32)
    x = net.add("Cast", [INPUT], "input.float", {"to": TensorProto.FLOAT})
    x = net.add("Sub", [x, net.constant("input.mean", mean)], "input.centred")
    x = net.add("Mul", [x, net.constant("input.factor", factor)], "input.normalised")
    return net.add("Transpose", [x], "input.nchw", {"perm": [0, 3, 1, 2]})


def _stem(net: _Graph, architecture: Architecture, x: str) -> str:
    if architecture.family == "cifar":
        return net.conv(x, "conv1", stride=1)
    x = net.relu(net.conv(x, "conv1", stride=2, norm="bn1"), "relu")
    return net.add("MaxPool", [x], "maxpool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4})


def _preact(net: _Graph, block: Block, x: str) -> str:
    """BN-ReLU-conv twice and a shortcut (Figure 1 c, d); the second batch norm goes into the first convolution."""
    name = block.name
    activated = net.relu(net.norm(x, f"{name}.bn1"), f"{name}.relu1")
    y = net.conv(activated, f"{name}.conv1", block.stride, norm=f"{name}.bn2")
    y = net.conv(net.relu(y, f"{name}.relu2"), f"{name}.conv2", stride=1)
    shortcut = net.conv(activated, f"{name}.shortcut", block.stride) if block.project else x
    return net.add("Add", [y, shortcut], name)


def _postact(net: _Graph, block: Block, x: str) -> str:
    """conv-BN(-ReLU) twice or three times, a shortcut, ReLU (Figure 1 a, b)."""
    name, count = block.name, 3 if f"{block.name}.conv3.weight" in net.tensors else 2
    strided = count - 1                            # basic: the first carries the stride; bottleneck: the 3×3
    y = x
    for index in range(1, count + 1):
        stride = block.stride if index == strided else 1
        y = net.conv(y, f"{name}.conv{index}", stride, norm=f"{name}.bn{index}")
        if index < count:
            y = net.relu(y, f"{name}.relu{index}")
    if block.project:
        x = net.conv(x, f"{name}.downsample.0", block.stride, norm=f"{name}.downsample.1")
    return net.relu(net.add("Add", [y, x], f"{name}.sum"), name)


def _model(net: _Graph, architecture: Architecture, side: int) -> onnx.ModelProto:
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", side, side, 3])
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", architecture.classes])
    graph = helper.make_graph(net.nodes, architecture.name, [images], [logits], net.constants)
    model = helper.make_model(
        graph, producer_name="wideresnet", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    return model
