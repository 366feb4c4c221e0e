"""Further outputs of a graph: found by its structure in every precision, under names people know."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.errors import BundleError, ConfigError
from wideresnet.graph import write_graph
from wideresnet.graph.outputs import inner_outputs, read_classifier, with_outputs
from wideresnet.records import Preprocess


def graph(name: str, half: bool = False) -> onnx.ModelProto:
    side = TINY[name].input_size
    return write_graph(TINY[name], tiny_tensors(TINY[name]), Preprocess(side, side), half=half)


@pytest.fixture(scope="module")
def int8() -> onnx.ModelProto:
    pytest.importorskip("nncf")
    from wideresnet.graph.quantise import quantise

    return quantise(graph("wrn_16_2"), list(tiny_images(2, 32)))


def test_a_network_has_its_stages_its_last_map_and_its_features() -> None:
    assert inner_outputs(graph("wrn_16_2")) == {
        "layer1": "layer1.1", "layer2": "layer2.1", "layer3": "layer3.1", "map": "relu", "features": "features",
    }  # fmt: skip
    assert inner_outputs(graph("bottleneck"))["layer4"] == inner_outputs(graph("bottleneck"))["map"] == "layer4.0"


def test_the_names_survive_quantisation(int8: onnx.ModelProto) -> None:
    found = inner_outputs(int8)
    assert {name: found[name] for name in ("layer1", "layer2", "layer3")} == {
        "layer1": "layer1.1", "layer2": "layer2.1", "layer3": "layer3.1",
    }  # fmt: skip
    pool = next(node for node in int8.graph.node if node.op_type == "GlobalAveragePool")
    assert found["map"] == pool.input[0]


def test_outputs_come_after_the_logits_in_the_order_asked_for() -> None:
    model = graph("wrn_10_1")
    before = model.SerializeToString()
    made = with_outputs(model, ["layer3", "features", "layer1"])
    assert [each.name for each in made.graph.output] == ["logits", "layer3", "features", "layer1"]
    assert model.SerializeToString() == before, "the graph it was made of is another"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("laye2", "did you mean 'layer2'?"),
        ("layer4", "did you mean 'layer3'?"),
        ("", "this network has features, layer1, layer2, layer3, map"),
    ],
)
def test_a_layer_that_is_not_there_gets_the_closest_one(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"no layer called '{name}'") as caught:
        with_outputs(graph("wrn_10_1"), [name])
    if name != "layer4":                           # all its neighbours are as close
        assert caught.value.hint == hint


def test_the_classifier_is_that_of_the_weights() -> None:
    tensors = tiny_tensors(TINY["basic"])
    weight, bias = read_classifier(graph("basic"))
    np.testing.assert_array_equal(weight, tensors["fc.weight"])
    np.testing.assert_array_equal(bias, tensors["fc.bias"])
    weight, _ = read_classifier(graph("basic", half=True))
    np.testing.assert_array_equal(weight, tensors["fc.weight"].astype(np.float16).astype(np.float32))


def test_int8_weights_are_what_they_stand_for(int8: onnx.ModelProto) -> None:
    tensors = tiny_tensors(TINY["wrn_16_2"])
    weight, bias = read_classifier(int8)
    assert (weight.dtype, weight.shape) == (np.float32, (10, 128))
    step = np.abs(tensors["fc.weight"]).max(axis=1, keepdims=True) / 127
    error = np.abs(weight - tensors["fc.weight"])
    assert error.max() > 0
    assert (error <= step).all()
    np.testing.assert_allclose(bias, tensors["fc.bias"], rtol=1e-6)


def test_a_graph_of_another_make_is_an_error() -> None:
    model = graph("wrn_10_1")
    del model.graph.node[-1]
    with pytest.raises(BundleError, match="no linear layer"):
        with_outputs(model, ["map"])
    model = graph("wrn_10_1")
    next(node for node in model.graph.node if node.op_type == "GlobalAveragePool").op_type = "ReduceMean"
    with pytest.raises(BundleError, match="no global pooling"):
        inner_outputs(model)
