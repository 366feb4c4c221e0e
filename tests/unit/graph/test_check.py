"""Graphs of strangers: what could crash a runtime, or keep it busy without end, never reaches one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fakes import NETWORKS, calibrated_bundle, tiny_bundle, tiny_images, tiny_tensors
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.errors import BundleError
from wideresnet.graph import write_graph
from wideresnet.graph.check import check_graph, checked_skeleton
from wideresnet.records import Preprocess


def graph_of(name: str, *, half: bool = False) -> onnx.ModelProto:
    architecture = NETWORKS[name]
    side = architecture.input_size
    return write_graph(architecture, tiny_tensors(architecture), Preprocess(side, side), half=half)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_our_graphs_are_accepted(name: str, half: bool) -> None:
    check_graph(graph_of(name, half=half))


def test_int8_graphs_are_accepted() -> None:
    pytest.importorskip("nncf")
    from wideresnet.graph.quantise import quantise

    for name in ("wrn_10_1", "bottleneck", "postact"):
        side = NETWORKS[name].input_size
        check_graph(quantise(graph_of(name), list(tiny_images(2, side))))


def test_further_outputs_and_empty_top_k_are_refused() -> None:
    model = calibrated_bundle(tiny_bundle()).model
    check_graph(model)
    numbers = constant(model, "known.k")
    numbers.CopyFrom(numpy_helper.from_array(np.array([0], np.int64), numbers.name))
    with pytest.raises(BundleError, match="TopK of fewer than one"):
        check_graph(model)
    model = graph_of("wrn_10_1")
    model.graph.output.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, ["batch", 64, 1, 1]))
    with pytest.raises(BundleError, match="outputs \\['logits', 'pool'\\]"):
        check_graph(model)


def first(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def constant(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(value for value in model.graph.initializer if value.name == name)


def set_attribute(node: onnx.NodeProto, name: str, numbers: list[int]) -> None:
    next(attribute for attribute in node.attribute if attribute.name == name).ints[:] = numbers


def add_constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(values, name))


def cycle(model: onnx.ModelProto) -> None:
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    relus[0].input[0] = relus[-1].output[0]


def loop(model: onnx.ModelProto) -> None:
    value = [helper.make_tensor_value_info(name, 1, None) for name in "ab"]
    body = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "body", value[:1], value[1:])
    model.graph.node.append(helper.make_node("Loop", ["", "", "logits"], ["more"], body=body))


def hidden_subgraph(model: onnx.ModelProto) -> None:
    attribute = helper.make_attribute("axis", helper.make_graph([], "body", [], []))
    first(model, "Flatten").attribute.append(attribute)


def outer_product(model: onnx.ModelProto) -> None:
    add_constant(model, "p", np.zeros((1, 100_000, 1), np.float32))
    add_constant(model, "q", np.zeros((1, 1, 100_000), np.float32))
    model.graph.node.insert(0, helper.make_node("Add", ["p", "q"], ["pq"]))


def other_classes(model: onnx.ModelProto) -> None:
    features = constant(model, "fc.weight").dims[1]
    constant(model, "fc.weight").CopyFrom(numpy_helper.from_array(np.zeros((12, features), np.float32), "fc.weight"))
    constant(model, "fc.bias").CopyFrom(numpy_helper.from_array(np.zeros(12, np.float32), "fc.bias"))


def external(model: onnx.ModelProto) -> None:
    value = constant(model, "conv1.weight")
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../secret")


def two_empty_fields(model: onnx.ModelProto) -> None:
    """onnx takes the empty bytes, the checker the number."""
    model.graph.initializer.append(TensorProto(name="x", data_type=1, float_data=[1.0], raw_data=b""))


def other_domain(model: onnx.ModelProto) -> None:
    first(model, "Relu").domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


CHANGES: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "a cycle": (cycle, "topologically sorted"),
    "a loop": (loop, "operator 'Loop'"),
    "a subgraph in a known attribute": (hidden_subgraph, "'axis'|subgraphs"),
    "an operator of another domain": (other_domain, "operator com.example"),
    "strides of 0": (lambda m: set_attribute(first(m, "Conv"), "strides", [0, 0]), "'strides'"),
    "padding of 2**40": (lambda m: set_attribute(first(m, "Conv"), "pads", [2**40] * 4), "'pads'"),
    "too few strides": (lambda m: set_attribute(first(m, "Conv"), "strides", [1]), "damaged"),
    "no groups": (lambda m: first(m, "Conv").attribute.append(helper.make_attribute("group", 0)), "'group'"),
    "an axis that is not there": (lambda m: set_attribute(first(m, "Transpose"), "perm", [0, 3, 1, 99]), "'perm'"),
    "an axis twice": (lambda m: set_attribute(first(m, "Transpose"), "perm", [0, 3, 1, 1]), "damaged"),
    "an input from nowhere": (lambda m: first(m, "Conv").input.__setitem__(0, "nowhere"), "nowhere"),
    "a node without output": (lambda m: first(m, "Conv").ClearField("output"), "output size 0"),
    "bytes of another shape": (lambda m: setattr(constant(m, "conv1.weight"), "raw_data", b"\0" * 8), "other bytes"),
    "a shape of 2**62": (lambda m: constant(m, "conv1.weight").dims.__setitem__(0, 2**31), "other bytes"),
    "two fields of bytes": (two_empty_fields, "other bytes"),
    "an unknown type": (lambda m: setattr(constant(m, "conv1.weight"), "data_type", 99), "99"),
    "bytes in other files": (external, "other bytes"),
    "a product of 10 billion elements": (outer_product, "10,000,000,000 elements"),
    "more logits than stated": (other_classes, "damaged"),
    "two inputs": (lambda m: m.graph.input.append(helper.make_tensor_value_info("more", 1, [1])), "other inputs"),
    "images that are no squares": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 33), "other inputs"
    ),
    "no input": (lambda m: m.graph.ClearField("input"), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_graph_is_refused(change: str) -> None:
    model = onnx.ModelProto.FromString(tiny_bundle().graph)
    function, message = CHANGES[change]
    function(model)
    with pytest.raises(BundleError, match=message):
        check_graph(model)


def test_a_bundle_with_a_changed_graph_of_the_right_hash_is_refused(tmp_path) -> None:
    model = onnx.ModelProto.FromString(tiny_bundle().graph)
    cycle(model)
    write_bundle(tmp_path / "bundle", tiny_bundle().with_model(model))
    with pytest.raises(BundleError, match=r"the graph is damaged or changed: .* topologically sorted"):
        read_bundle(tmp_path / "bundle")


def test_constants_that_are_inputs_too_are_accepted() -> None:
    """As exporters of before 2019 wrote them."""
    model = onnx.ModelProto.FromString(tiny_bundle().graph)
    weight = constant(model, "conv1.weight")
    model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    assert len(checked_skeleton(model).graph.input) > 2
