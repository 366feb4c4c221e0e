"""Checks of a graph's structure before a runtime sees it: bundles and ONNX files may come from strangers.

Runtimes trust their input: a changed graph makes OpenVINO end the process, or compute a cycle or a loop without end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import AttributeProto, TensorProto, helper
from onnx.numpy_helper import to_array

from wideresnet.errors import BundleError
from wideresnet.unpickle import DAMAGE

# What write_graph, quantise and calibrated write: operators, and the least and largest value of each attribute.
OPERATORS = frozenset([
    "Add", "Cast", "Conv", "DequantizeLinear", "Div", "Exp", "Flatten", "Gemm", "GlobalAveragePool", "GlobalMaxPool",
    "Identity", "LeakyRelu", "Log", "MatMul", "MaxPool", "Mean", "Mul", "QuantizeLinear", "ReduceL2", "ReduceMax",
    "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu", "Sigmoid", "Softmax", "Sub", "TopK", "Transpose",
])  # fmt: skip
ATTRIBUTES = {
    "alpha": (0, 100), "axes": (1, 1), "axis": (-4, 3), "beta": (0, 100), "kernel_shape": (1, 7), "pads": (0, 6),
    "perm": (0, 3), "strides": (1, 2), "to": (TensorProto.FLOAT, TensorProto.FLOAT), "transB": (0, 1),
}  # fmt: skip
MAX_PER_PIXEL = 1024                               # elements of any tensor of one image, for each of its pixels
_SUBGRAPHS = {AttributeProto.GRAPH, AttributeProto.GRAPHS}


@contextmanager
def refuse_damage() -> Iterator[None]:
    """Raise as BundleError what a damaged graph makes its readers raise."""
    try:
        yield
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *DAMAGE) as error:
        raise BundleError(f"the graph is damaged or changed: {str(error).strip()[:200]}", "export it again") from error


@refuse_damage()
def check_graph(model: onnx.ModelProto) -> None:
    """Raise BundleError unless ``model`` is built from what ``write_graph``, ``quantise`` and ``calibrated`` write.

    Refused are, beside what ``checked_skeleton`` refuses, other operators and attributes, and tensors that do not fit
    together or take too much memory. Values are not looked at: see ``facts.check_finite``.
    """
    for node in model.graph.node:
        if node.op_type not in OPERATORS or node.domain:
            raise ValueError(f"it has an operator {node.domain[:40]}{node.op_type[:40]!r}")
        for attribute in node.attribute:
            least, most = ATTRIBUTES.get(attribute.name, (1, 0))
            values = [*attribute.ints] or [attribute.i or attribute.f]       # onnx.checker compares their types
            if not all(least <= value <= most for value in values):
                raise ValueError(f"it has {attribute.name[:40]!r} = {values[:8]} in a {node.op_type}")
    inferred = onnx.shape_inference.infer_shapes(checked_skeleton(model), check_type=True, strict_mode=True).graph
    shapes = [[dim.dim_value for dim in tensor.type.tensor_type.shape.dim] for tensor in model.graph.input]
    outputs = [output.name for output in model.graph.output]
    if shapes != [[0, side := shapes[0][1], side, 3]] or outputs[1:] not in ([], ["known_score"]):
        raise ValueError(f"it has other inputs than images [N, S, S, 3]: {shapes[:3]}, or outputs {outputs[:4]}")
    stored = {constant.name: constant for constant in model.graph.initializer}
    limit = max(MAX_PER_PIXEL * side**2, *(math.prod(constant.dims) for constant in stored.values()))
    for tensor in inferred.value_info:
        elements = math.prod(max(1, dim.dim_value) for dim in tensor.type.tensor_type.shape.dim)
        if elements > limit:
            raise ValueError(f"it has a tensor of {elements:,} elements")
    for node in model.graph.node:
        if node.op_type == "TopK" and to_array(stored[node.input[1]]).min() < 1:
            raise ValueError("it has a TopK of fewer than one")


@refuse_damage()
def checked_skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its large constants as inputs, after ``onnx.checker`` has accepted it.

    Raises BundleError for a cycle or another disorder, subgraphs, functions, and constants whose bytes are not those
    of their shape or lie in other files.
    """
    source = model.graph
    kinds = {attribute.type for node in source.node for attribute in node.attribute}
    if kinds & _SUBGRAPHS or model.functions or source.sparse_initializer:
        raise ValueError("it has subgraphs, functions, or sparse constants")
    graph = onnx.GraphProto(name="skeleton", node=source.node, input=source.input, output=source.output)
    names = {tensor.name for tensor in source.input}         # exporters of before 2019 list constants there too
    for constant in source.initializer:
        count: float = len(getattr(constant, helper.tensor_dtype_to_field(constant.data_type)))
        if constant.HasField("raw_data"):
            count = len(constant.raw_data) / helper.tensor_dtype_to_np_dtype(constant.data_type).itemsize
        if constant.data_location or min(constant.dims, default=1) < 0 or count != math.prod(constant.dims):
            raise ValueError(f"its constant {constant.name[:40]!r} of {[*constant.dims]} has other bytes")
        if math.prod(constant.dims) <= 64:         # it may decide shapes
            graph.initializer.append(constant)
        elif constant.name not in names:
            graph.input.append(helper.make_tensor_value_info(constant.name, constant.data_type, constant.dims))
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)
    onnx.checker.check_model(skeleton)
    return skeleton
