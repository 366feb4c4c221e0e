"""Graphs of other exporters: whatever they rename, fold or leave, the same network comes back."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.architectures import Architecture, get_architecture
from wideresnet.errors import BundleError
from wideresnet.graph import write_graph
from wideresnet.graph.foreign import read_foreign
from wideresnet.records import Preprocess

torch = pytest.importorskip("torch")


def exported(architecture: Architecture, *, folded: bool = True) -> onnx.ModelProto:
    """What torch's exporter makes of the network: batch norms folded into convolutions, or left as they are."""
    from wideresnet.models import create_model

    model = create_model(architecture).eval()
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in tiny_tensors(architecture).items()}
    model.load_state_dict(tensors)
    file = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    side = architecture.input_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")            # it would rather be called in its new way, which needs more packages
        torch.onnx.export(
            model, torch.zeros(1, 3, side, side), file, dynamo=False, training=mode, do_constant_folding=folded
        )
    return onnx.ModelProto.FromString(file.getvalue())


def logits(architecture: Architecture, tensors: dict[str, np.ndarray]) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    side = architecture.input_size
    graph = write_graph(architecture, tensors, Preprocess(side, side)).SerializeToString()
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": tiny_images(3, side)})[0]


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "as they are"])
@pytest.mark.parametrize("name", TINY)
def test_a_network_comes_back_from_torchs_export(name: str, folded: bool) -> None:
    architecture = TINY[name]
    model = exported(architecture, folded=folded)
    found, tensors = read_foreign(model, architecture)
    assert found == architecture
    assert {key: value.shape for key, value in tensors.items()} == architecture.tensors()
    expected = logits(architecture, tiny_tensors(architecture))
    np.testing.assert_allclose(logits(architecture, tensors), expected, rtol=0, atol=1e-4 * expected.std())


def test_architecture_and_classes_are_found_without_a_name() -> None:
    for name, classes in (("wrn_10_1", 3), ("wrn_22_2", 10)):
        architecture = get_architecture(name, classes)
        assert read_foreign(exported(architecture))[0] == architecture


def test_a_classifier_as_matmul_and_constants_as_nodes_are_understood() -> None:
    architecture = TINY["wrn_10_1"]
    model = exported(architecture)
    graph = model.graph
    gemm = graph.node[-1]
    values = {c.name: c for c in graph.initializer}
    weight = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(values["fc.weight"]).T), "w")
    nodes = [
        helper.make_node("Constant", [], ["w0"], value=weight),
        helper.make_node("Identity", ["w0"], ["w"]),
        helper.make_node("MatMul", [gemm.input[0], "w"], ["product"]),
        helper.make_node("Add", ["product", "fc.bias"], [gemm.output[0]]),
    ]
    del graph.node[-1]
    graph.node.extend(nodes)
    _, tensors = read_foreign(model)
    np.testing.assert_array_equal(tensors["fc.weight"], tiny_tensors(architecture)["fc.weight"])
    np.testing.assert_array_equal(tensors["fc.bias"], tiny_tensors(architecture)["fc.bias"])


def test_half_weights_come_back_as_float32() -> None:
    model = exported(TINY["wrn_10_1"])
    for constant in model.graph.initializer:
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float16), constant.name))
    _, tensors = read_foreign(model)
    assert {value.dtype for key, value in tensors.items() if not key.endswith("tracked")} == {np.dtype(np.float32)}


def test_another_network_is_refused_and_a_named_one_says_why() -> None:
    model = exported(TINY["wrn_16_2"])
    with pytest.raises(BundleError, match=r"no convolution is left for layer1\.0\.conv1"):
        read_foreign(model, TINY["wrn_10_1"])
    with pytest.raises(BundleError, match=r"no batch norm of 64 channels is where layer2\.1\.bn1"):
        read_foreign(model, replace(TINY["wrn_16_2"], stages=(1, 2, 2)))
    with pytest.raises(BundleError, match="those of no network known here"):
        read_foreign(exported(TINY["bottleneck"]))
    with pytest.raises(BundleError, match="no classifier"):
        read_foreign(onnx.ModelProto())
