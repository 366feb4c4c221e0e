"""int8 graphs: made as asked, and taken back to float32 layer by layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.architectures import Architecture, with_variant
from wideresnet.graph import write_graph
from wideresnet.graph.facts import read_variant
from wideresnet.graph.quantise import keep_float, only_quantised, quantise, quantised_layers
from wideresnet.records import Preprocess, QuantiseSettings

pytest.importorskip("nncf")
ort = pytest.importorskip("onnxruntime")


def made(
    network: str | Architecture, settings: QuantiseSettings = QuantiseSettings()  # noqa: B008
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A float graph and its int8 twin."""
    architecture = TINY[network] if isinstance(network, str) else network
    side = architecture.input_size
    model = write_graph(architecture, tiny_tensors(architecture), Preprocess(side, side))
    return model, quantise(model, list(tiny_images(8, side)), settings)


@pytest.fixture(scope="module", params=["wrn_16_2", "bottleneck"])
def pair(request: pytest.FixtureRequest) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return made(request.param)


def run(model: onnx.ModelProto) -> np.ndarray:
    """Without the runtime's own rewriting, so that what is not quantised is exactly the same."""
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    side = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return session.run(None, {"images": tiny_images(4, side)})[0]


def far(model: onnx.ModelProto, other: onnx.ModelProto) -> float:
    reference = run(model)
    return float(np.abs(run(other) - reference).max() / reference.std())


def quantisers(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "DequantizeLinear" for node in model.graph.node)


def test_every_convolution_and_the_classifier_are_int8(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, int8 = pair
    weights = [c.name.removesuffix(".weight") for c in model.graph.initializer if c.name.endswith(".weight")]
    found = quantised_layers(int8, model)
    assert {name for name, operator in found.items() if operator in ("Conv", "Gemm")} == set(weights)
    assert "Add" in found.values(), "the sums are int8, too"


def test_the_float_graph_is_not_touched(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, int8 = pair
    before = model.SerializeToString(), int8.SerializeToString()
    keep_float(int8, model, ["conv1"])
    only_quantised(int8, model, "conv1")
    assert (model.SerializeToString(), int8.SerializeToString()) == before
    assert quantised_layers(model, model) == {}


def test_one_layer_alone_is_nearer_to_float_than_all_and_further_than_none(
    pair: tuple[onnx.ModelProto, onnx.ModelProto]
) -> None:
    model, int8 = pair
    whole = far(model, int8)
    for layer, operator in quantised_layers(int8, model).items():
        alone = only_quantised(int8, model, layer)
        assert quantised_layers(alone, model) == {layer: operator}
        assert quantisers(alone) == {"Conv": 2, "Gemm": 2, "Add": 2}.get(operator, 1), "its inputs"
        assert 0 < far(model, alone) < 1.5 * whole


def test_kept_layers_are_float_and_the_others_are_not(pair: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    model, int8 = pair
    layers = list(quantised_layers(int8, model))
    kept = keep_float(int8, model, layers[:2])
    assert list(quantised_layers(kept, model)) == layers[2:]
    assert {c.name for c in kept.graph.initializer} >= {f"{layer}.weight" for layer in layers[:2]}
    assert far(model, keep_float(int8, model, layers)) == 0
    # A neighbour that reads the same activation keeps its quantised input.
    for node in kept.graph.node:
        if node.op_type == "Conv" and node.input[1].startswith("dq_"):
            sources = {output: each for each in kept.graph.node for output in each.output}
            source = sources[node.input[0]]
            while source.op_type in ("MaxPool", "Transpose"):
                source = sources[source.input[0]]
            assert source.op_type == "DequantizeLinear", node.name


@pytest.fixture(scope="module")
def usual() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return made("wrn_10_1")


@pytest.mark.parametrize(
    "changes",
    [
        {"estimator": "max"}, {"estimator": "mean"}, {"estimator": "percentile"}, {"bias_correction": "fast"},
        {"preset": "mixed"}, {"samples": 3}, {"kept": ("fc",)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_each_setting_changes_the_graph(
    usual: tuple[onnx.ModelProto, onnx.ModelProto], changes: dict[str, Any]
) -> None:
    _, other = made("wrn_10_1", QuantiseSettings(**changes))
    assert other.SerializeToString(deterministic=True) != usual[1].SerializeToString(deterministic=True)


def test_equal_images_make_equal_graphs(usual: tuple[onnx.ModelProto, onnx.ModelProto]) -> None:
    _, again = made("wrn_10_1")
    assert again.SerializeToString(deterministic=True) == usual[1].SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "variant",
    [
        {"activation": "silu", "padding": "same"},
        {"activation": "leaky_relu", "shortcut": "skip_norm", "conv_bias": True},
        {"shortcut": "always", "pool": "max"},
        {"block": "postact", "stride_on": "conv2", "conv_bias": True, "pool": "avgmax"},
    ],
    ids=str,
)
def test_variants_are_quantised_and_taken_back(variant: dict[str, str | bool]) -> None:
    architecture = with_variant(TINY["wrn_10_1"], variant)
    model, int8 = made(architecture)
    layers = quantised_layers(int8, model)
    assert sum(operator in ("Conv", "Gemm") for operator in layers.values()) == len(architecture.layer_macs())
    assert 0 < far(model, int8) < 0.5
    assert far(model, keep_float(int8, model, layers)) == 0
    for layer, operator in layers.items():
        assert quantised_layers(only_quantised(int8, model, layer), model) == {layer: operator}
    assert read_variant(int8) == variant


def test_bias_correction_ends_with_the_layer_it_was_for() -> None:
    """A layer taken back to float32 gets the bias of the float graph."""
    model, int8 = made("bottleneck", QuantiseSettings(bias_correction="fast"))
    assert far(model, keep_float(int8, model, quantised_layers(int8, model))) == 0
    kept = keep_float(int8, model, ["conv1"])
    biases = [next(c for c in each.graph.initializer if c.name == "conv1.bias") for each in (model, kept)]
    assert biases[0].raw_data == biases[1].raw_data
