"""Random weights behave like trained ones: activations keep their size down to the last layer."""

from __future__ import annotations

import numpy as np
import onnx
import openvino as ov
import pytest

from fakes import TINY, VARIANTS, tiny_images
from wideresnet.architectures import wrn
from wideresnet.engines import open_engine
from wideresnet.engines.base import EngineOptions
from wideresnet.engines.openvino import OpenVinoEngine
from wideresnet.graph import write_graph
from wideresnet.records import Preprocess
from wideresnet.tasks.bench.random_weights import measured_norms, random_bundle, random_model, random_tensors

# Not TINY's wrn_16_2: the same blocks at half the width are as good and soon done.
NETWORKS = {**{name: TINY[name] for name in ("wrn_10_1", "basic", "bottleneck")}, "wrn_16_1": wrn(16, 1), **VARIANTS}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_finite_differ_between_images_and_do_not_explode(name: str) -> None:
    side = NETWORKS[name].input_size
    bundle = random_bundle(NETWORKS[name], Preprocess(side, side), tiny_images(4, side))
    logits = OpenVinoEngine(bundle.graph, EngineOptions())(tiny_images(8, side))
    assert np.isfinite(logits).all()
    assert 0.01 < logits.std() < 100
    assert (logits.std(axis=0) > 1e-4).any()


@pytest.mark.parametrize(("name", "node"), [("basic", "layer3.0.conv2"), ("wrn_16_1", "layer2.1.conv1")])
def test_behind_a_norm_every_channel_has_the_mean_and_spread_that_it_asks_for(name: str, node: str) -> None:
    """Measured by another runtime: the convolution and the norm after it are one node there."""
    architecture, norm = NETWORKS[name], node.replace("conv1", "bn2") if name == "wrn_16_1" else "layer3.0.bn2"
    side = architecture.input_size
    spec, images = Preprocess(side, side), tiny_images(4, side)
    tensors = random_tensors(architecture, seed=0)
    tensors |= measured_norms(architecture, tensors, spec, images)
    model = write_graph(architecture, tensors, spec)
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info(node, onnx.TensorProto.FLOAT, None))
    compiled = ov.Core().compile_model(
        ov.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    x = compiled([images])[0]
    np.testing.assert_allclose(x.mean((0, 2, 3)), tensors[f"{norm}.bias"], atol=1e-3)
    np.testing.assert_allclose(x.std((0, 2, 3)), tensors[f"{norm}.weight"], rtol=1e-3)


def test_the_same_seed_gives_the_same_model_and_another_one_another() -> None:
    arguments = TINY["wrn_10_1"], Preprocess(32, 32), tiny_images(4, 32)
    assert random_bundle(*arguments).graph == random_bundle(*arguments).graph
    assert random_bundle(*arguments).graph != random_bundle(*arguments, seed=1).graph


def test_the_card_says_that_it_has_learnt_nothing() -> None:
    bundle = random_model("wrn_10_1")
    assert (bundle.card.name, bundle.card.published) == ("wrn_10_1.random", ())
    assert "learnt nothing" in bundle.card.notes["weights"]
    assert open_engine(bundle)(tiny_images(1, 32)).shape == (1, 10)
