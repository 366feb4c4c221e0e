"""One contract for what engines give besides logits: the outputs of eager torch's own modules, by forward hooks.

Largest difference seen over the networks below, over the spread of the layer: 5e-6 in float32.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import onnx
import pytest

from fakes import NETWORKS, VARIANTS, tiny_bundle, tiny_images, tiny_tensors
from wideresnet.engines import ENGINES, EngineOptions
from wideresnet.engines.features import Features, open_features
from wideresnet.errors import BundleError, ConfigError, EngineError
from wideresnet.graph import write_graph
from wideresnet.graph.outputs import read_classifier, with_outputs
from wideresnet.records import Preprocess, QuantiseSettings

torch = pytest.importorskip("torch")
MODULES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "pytorch": "torch"}
IMAGES = 5


@pytest.fixture(autouse=True)
def _keep_torch_threads():
    """The engine pytorch sets them for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=ENGINES)
def engine(request):
    pytest.importorskip(MODULES[request.param])
    return request.param


@pytest.fixture(params=["openvino", "onnxruntime"])
def runtime(request):
    """The engines that run any graph."""
    pytest.importorskip(MODULES[request.param])
    return request.param


def view(name: str) -> Preprocess:
    return Preprocess(resize=NETWORKS[name].input_size, crop=NETWORKS[name].input_size)


def names(name: str) -> list[str]:
    return [f"layer{stage + 1}" for stage in range(len(NETWORKS[name].stages))] + ["map", "features"]


def images(name: str) -> np.ndarray:
    return tiny_images(IMAGES, NETWORKS[name].input_size)


def opened(engine: str, model: onnx.ModelProto, name: str, options: EngineOptions | None = None) -> Features:
    """Without ``open_features``: the small networks have no name to look up."""
    graph, options = with_outputs(model, names(name)).SerializeToString(), options or EngineOptions(threads=1)
    if engine == "openvino":
        from wideresnet.engines.openvino import OpenVinoEngine

        return Features(OpenVinoEngine(graph, options), tuple(names(name)))
    if engine == "onnxruntime":
        from wideresnet.engines.onnxruntime import OnnxRuntimeEngine

        return Features(OnnxRuntimeEngine(graph, options), tuple(names(name)))
    from wideresnet.engines.pytorch import PyTorchEngine

    return Features(PyTorchEngine(graph, options, NETWORKS[name], view(name)), tuple(names(name)))


def written(name: str, half: bool = False) -> onnx.ModelProto:
    return write_graph(NETWORKS[name], tiny_tensors(NETWORKS[name]), view(name), half=half)


@cache
def quantised(name: str) -> onnx.ModelProto:
    pytest.importorskip("nncf")
    from wideresnet.graph.quantise import quantise

    return quantise(written(name), list(images(name)), QuantiseSettings(estimator="max"))


@pytest.fixture(scope="module")
def reference():
    """Name -> layer -> what the modules give, batch norms not folded, by forward hooks."""
    return {name: by_hooks(name) for name in NETWORKS}


def by_hooks(name: str) -> dict[str, np.ndarray]:
    from wideresnet.models import create_model

    found: dict[str, torch.Tensor] = {}
    model = create_model(NETWORKS[name]).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in tiny_tensors(NETWORKS[name]).items()})
    for layer in names(name)[:-2]:
        getattr(model, layer).register_forward_hook(lambda _m, _i, out, layer=layer: found.update({layer: out}))
    for layer, reader in (("map", model.pool), ("features", model.fc)):
        reader.register_forward_pre_hook(lambda _m, inputs, layer=layer: found.update({layer: inputs[0]}))
    mean, std = torch.tensor(view(name).mean), torch.tensor(view(name).std)
    x = (torch.from_numpy(images(name)).float() / 255 - mean) / std
    with torch.inference_mode():
        logits = model(x.permute(0, 3, 1, 2))
    return {"logits": logits.numpy(), **{layer: each.numpy() for layer, each in found.items()}}


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], within: float) -> None:
    """Every layer, within a share of its spread."""
    assert found.keys() == expected.keys()
    for layer, values in expected.items():
        assert (found[layer].dtype, found[layer].shape) == (np.float32, values.shape), layer
        np.testing.assert_allclose(found[layer], values, rtol=0, atol=within * values.std(), err_msg=layer)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_what_torchs_module_gives(engine, reference, name):
    assert_close(opened(engine, written(name), name)(images(name)), reference[name], 1e-4)


@pytest.mark.parametrize("name", ["wrn_16_2", "bottleneck"])
def test_float16_weights_stay_near(engine, reference, name):
    found = opened(engine, written(name, half=True), name)(images(name))
    assert_close(found, reference[name], 0.02)


def test_a_stream_gives_each_batch_in_order_also_the_empty_ones(engine, reference):
    """As it comes when all images of a batch could not be read; the networks with a max pool are the hard ones."""
    run = opened(engine, written("basic"), "basic", EngineOptions(hint="throughput"))
    cuts = np.split(images("basic"), [0, 1, 1, 3])
    answers = list(run.stream(cut.copy() for cut in cuts))
    assert [len(answer["map"]) for answer in answers] == [0, 1, 0, 2, 2]
    whole = {layer: np.concatenate([answer[layer] for answer in answers]) for layer in answers[0]}
    assert_close(whole, reference["basic"], 1e-4)


def test_what_was_given_stays_as_it_was(engine):
    """A later batch does not overwrite it."""
    run = opened(engine, written("wrn_10_1"), "wrn_10_1")
    first = run(images("wrn_10_1")[:2])
    kept = {layer: values.copy() for layer, values in first.items()}
    run(images("wrn_10_1")[2:4])
    for layer, values in kept.items():
        np.testing.assert_array_equal(first[layer], values)


@pytest.mark.parametrize("name", ["wrn_10_1", "bottleneck", *VARIANTS])
def test_in_int8_the_features_still_make_the_logits(runtime, reference, name):
    """And the maps are those of float32, as far as 8 bits go."""
    int8 = quantised(name)
    run = opened(runtime, int8, name)
    assert run.engine.info.precision == "int8"
    found = run(images(name))
    weight, bias = read_classifier(int8)
    np.testing.assert_allclose(found["features"] @ weight.T + bias, found["logits"], rtol=0, atol=1e-5)
    for layer, values in reference[name].items():
        error = np.sqrt(np.mean((found[layer] - values) ** 2)) / values.std()
        assert error < 0.06, layer                 # unrelated values are 1.4 apart


def test_the_wrong_batch_is_refused_as_ever(engine):
    run = opened(engine, written("wrn_10_1"), "wrn_10_1")
    with pytest.raises(EngineError, match="takes RGB uint8"):
        run(np.zeros((1, 31, 32, 3), np.uint8))


def test_a_bundle_opens_with_the_layers_asked_for(engine):
    run = open_features(tiny_bundle(), ["layer2", "features"], engine)
    found = run(tiny_images(2, 32))
    assert {layer: values.shape for layer, values in found.items()} == {
        "logits": (2, 10), "layer2": (2, 32, 16, 16), "features": (2, 64),
    }  # fmt: skip
    assert run.engine.info.runtime == engine
    np.testing.assert_array_equal(run.engine(tiny_images(2, 32)), found["logits"])


def test_hooks_do_not_stay(reference):
    """The engine pytorch answers as before once its features were taken."""
    run = opened("pytorch", written("wrn_10_1"), "wrn_10_1")
    run(images("wrn_10_1"))
    assert not any(module._forward_hooks for module in run.engine._model.modules())


def test_what_cannot_be_had_is_an_error(engine):
    with pytest.raises(ConfigError, match="no layer called 'layer4'"):
        open_features(tiny_bundle(), ["layer4"], engine)
    with pytest.raises((BundleError, EngineError)):
        open_features(replace(tiny_bundle(), graph=b"no graph"), ["map"], engine)


def test_threads_get_the_features_of_their_own_images(engine):
    """Hooks of torch's module are those of all threads."""
    run = opened(engine, written("wrn_10_1"), "wrn_10_1", EngineOptions(threads=1))
    batches = images("wrn_10_1")[:1], images("wrn_10_1")[1:3]
    expected = [run(batch)["map"] for batch in batches]

    def repeat(thread):
        return all(np.array_equal(run(batches[thread])["map"], expected[thread]) for _ in range(60))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(repeat, range(2))) == [True, True]
