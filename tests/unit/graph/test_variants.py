"""Every variant: the torch module, the graph in each runtime, and the graph read back compute what the text says."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import openvino as ov
import pytest
from onnx.reference import ReferenceEvaluator

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.architectures import with_variant, wrn
from wideresnet.errors import BundleError
from wideresnet.graph import read_graph, write_graph
from wideresnet.graph.facts import VARIANT, read_facts, read_variant
from wideresnet.layers import Norm
from wideresnet.records import Preprocess

torch = pytest.importorskip("torch")

from variants import CIFAR_VARIANTS, IMAGENET_VARIANTS, reference_logits  # noqa: E402 - with torch
from wideresnet.models import create_model  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
CASES = [(wrn(16, 1) if index % 2 else wrn(10, 2), variant) for index, variant in enumerate(CIFAR_VARIANTS)]
CASES += [(TINY[name], variant) for name in ("basic", "bottleneck") for variant in IMAGENET_VARIANTS]
IDS = [f"{architecture.name}-{variant}" for architecture, variant in CASES]


def view(side):
    return Preprocess(resize=side, crop=side, mean=MEAN, std=STD)


def normalised(images):
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def as_torch(tensors):
    return {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}


def run(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def run_openvino(model, images):
    graph = ov.Core().read_model(model.SerializeToString())
    return ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)[0].copy()


def module_logits(architecture, tensors, images):
    module = create_model(architecture).eval()
    module.load_state_dict(as_torch(tensors))
    with torch.inference_mode():
        return module(normalised(images)).numpy()


@pytest.mark.parametrize(("base", "variant"), CASES, ids=IDS)
def test_module_and_graph_compute_the_same(base, variant):
    """Also what is read back from the graph, in a module and in a graph."""
    architecture = with_variant(base, variant)
    tensors, images = tiny_tensors(architecture), tiny_images(3, architecture.input_size)
    expected = module_logits(architecture, tensors, images)
    model = write_graph(architecture, tensors, view(architecture.input_size))
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(model, images), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(run_openvino(model, images), expected, rtol=0, atol=1e-5)
    again = read_graph(model, architecture)
    assert {key: value.shape for key, value in again.items()} == architecture.tensors()
    np.testing.assert_allclose(module_logits(architecture, again, images), expected, rtol=0, atol=1e-5)
    twice = write_graph(architecture, again, view(architecture.input_size))
    np.testing.assert_allclose(run(twice, images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("base", [wrn(10, 1), wrn(16, 2)], ids=lambda base: base.name)
@pytest.mark.parametrize("variant", CIFAR_VARIANTS, ids=str)
def test_the_module_computes_what_the_text_says(base, variant):
    architecture = with_variant(base, variant)
    tensors, images = tiny_tensors(architecture), tiny_images(2, 32)
    expected = reference_logits(as_torch(tensors), variant, normalised(images)).numpy()
    np.testing.assert_allclose(module_logits(architecture, tensors, images), expected, rtol=0, atol=1e-5)


def test_every_variant_is_another_function():
    """Where a field were ignored, two of them would be the same."""
    images = tiny_images(2, 32)
    logits = []
    for variant in CIFAR_VARIANTS:
        architecture = with_variant(wrn(16, 1), variant)
        logits.append(module_logits(architecture, tiny_tensors(architecture), images))
    for first, second in ((a, b) for a in range(len(logits)) for b in range(a)):
        assert np.abs(logits[first] - logits[second]).max() > 1e-4, (CIFAR_VARIANTS[first], CIFAR_VARIANTS[second])


@pytest.mark.parametrize("side", [30, 33])
@pytest.mark.parametrize("variant", [{"padding": "same"}, {"padding": "same", "stride_on": "conv2"}], ids=str)
def test_same_padding_also_holds_for_odd_maps(variant, side):
    architecture = with_variant(wrn(10, 1), variant)
    tensors, images = tiny_tensors(architecture), tiny_images(2, side)
    expected = reference_logits(as_torch(tensors), variant, normalised(images)).numpy()
    np.testing.assert_allclose(module_logits(architecture, tensors, images), expected, rtol=0, atol=1e-5)
    model = write_graph(architecture, tensors, view(side))
    np.testing.assert_allclose(run(model, images), expected, rtol=0, atol=1e-5)


def test_onnx_itself_computes_the_same():
    """By the standard's own evaluator: a runtime could share a fault with this package."""
    for variant in ({"activation": "silu", "padding": "same"}, {"activation": "leaky_relu", "pool": "avgmax"}):
        architecture = with_variant(wrn(10, 1), variant)
        tensors, images = tiny_tensors(architecture), tiny_images(1, 32)
        model = write_graph(architecture, tensors, view(32))
        (logits,) = ReferenceEvaluator(model).run(None, {"images": images})
        np.testing.assert_allclose(logits, module_logits(architecture, tensors, images), rtol=0, atol=1e-5)


def test_a_skipped_norm_comes_back_as_the_identity_and_a_folded_bias_as_zero():
    architecture = with_variant(wrn(10, 1), {"shortcut": "skip_norm", "conv_bias": True})
    tensors = tiny_tensors(architecture)
    again = read_graph(write_graph(architecture, tensors, view(32)), architecture)
    idle = next(layer.name for layer in architecture.layers() if isinstance(layer, Norm) and layer.idle)
    parts = {part: again[f"{idle}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    assert {part: set(value.tolist()) for part, value in parts.items()} == {
        "weight": {1.0}, "bias": {0.0}, "running_mean": {0.0}, "running_var": {1.0}
    }  # fmt: skip
    assert not again["layer1.0.conv1.bias"].any()
    np.testing.assert_array_equal(again["conv1.bias"], tensors["conv1.bias"])
    np.testing.assert_array_equal(again["layer2.0.shortcut.bias"], tensors["layer2.0.shortcut.bias"])


# What a graph states


def test_a_graph_states_its_variant_and_a_default_one_none():
    variant = {"activation": "silu", "bn_eps": 1e-3, "conv_bias": True}
    architecture = with_variant(wrn(10, 1), variant)
    model = write_graph(architecture, tiny_tensors(architecture), view(32))
    assert {item.key: json.loads(item.value) for item in model.metadata_props} == {VARIANT: variant}
    assert read_facts(model).variant == variant
    plain = write_graph(wrn(10, 1), tiny_tensors(wrn(10, 1)), view(32))
    assert not plain.metadata_props
    assert read_variant(plain) == {}


def test_the_graph_of_another_variant_is_refused():
    architecture = with_variant(wrn(10, 1), {"activation": "silu"})
    model = write_graph(architecture, tiny_tensors(architecture), view(32))
    with pytest.raises(BundleError, match="no float graph of wrn_10_1"):
        read_graph(model, wrn(10, 1))


@pytest.mark.parametrize("value", ["", "[]", '{"activation": null}', "{"])
def test_a_damaged_statement_is_an_error(value):
    model = write_graph(wrn(10, 1), tiny_tensors(wrn(10, 1)), view(32))
    onnx.helper.set_model_props(model, {VARIANT: value})
    with pytest.raises(BundleError, match=r"the graph's wideresnet\.variant is damaged"):
        read_variant(model)
