"""A graph of another tool becomes a model of ours only where both compute the same."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fakes import tiny_bundle, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.bundle import write_bundle
from wideresnet.errors import BundleError, WeightsError
from wideresnet.tasks.load import run_onnx
from wideresnet.tasks.load.load import ModelChoice, load_bundle

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """wrn_10_1 as torch exports it."""
    from wideresnet.models import create_model

    architecture = get_architecture("wrn_10_1")
    model = create_model(architecture).eval()
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in tiny_tensors(architecture).items()})
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, torch.zeros(1, 3, 32, 32), file, dynamo=False)
    return onnx.ModelProto.FromString(file.getvalue())


def saved(model: onnx.ModelProto, path: Path) -> ModelChoice:
    onnx.save(model, path)
    return ModelChoice(str(path))


def copied(graph: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(graph.SerializeToString())


def test_it_becomes_a_bundle_that_says_what_is_assumed(graph: onnx.ModelProto, tmp_path: Path) -> None:
    bundle = load_bundle(saved(graph, tmp_path / "theirs.onnx"))
    card = bundle.card
    assert (card.name, card.architecture, card.classes, card.precision) == ("theirs", "wrn_10_1", 10, "fp32")
    assert (card.weights_source, len(card.weights_sha256), card.licence) == ("theirs.onnx", 64, "unknown")
    assert [words.partition(":")[0] for words in card.assumed] == ["preprocessing", "class names"]
    assert card.preprocess.crop == 32
    assert bundle.labels == tiny_bundle().labels


@pytest.mark.parametrize("what", ["softmax", "a changed stride", "doubled"])
def test_what_computes_something_else_is_refused(graph: onnx.ModelProto, tmp_path: Path, what: str) -> None:
    model = copied(graph)
    last = model.graph.node[-1]
    if what == "softmax":
        last.output[0] = "before"
        model.graph.node.append(helper.make_node("Softmax", ["before"], [model.graph.output[0].name]))
    elif what == "doubled":
        last.output[0] = "before"
        model.graph.node.append(helper.make_node("Add", ["before", "before"], [model.graph.output[0].name]))
    else:
        conv = next(node for node in model.graph.node if node.op_type == "Conv")
        next(each for each in conv.attribute if each.name == "pads").ints[:] = [0, 0, 0, 0]
    with pytest.raises(BundleError, match=r"computes something else|cannot be run"):
        load_bundle(saved(model, tmp_path / "theirs.onnx"))


def test_what_is_no_such_graph_is_refused_in_words(graph: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(WeightsError, match=r"cannot read .*text\.onnx as ONNX"):
        load_bundle(ModelChoice(str(tmp_path / "text.onnx")))
    bytes_in = copied(graph)
    bytes_in.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(BundleError, match=r"does not take float32"):
        load_bundle(saved(bytes_in, tmp_path / "bytes.onnx"))
    other = copied(graph)
    weight = next(c for c in other.graph.initializer if c.dims[:1] == [16] and len(c.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(np.zeros((17, 3, 3, 3), np.float32), weight.name))
    with pytest.raises(BundleError, match=r"no graph of this family"):
        load_bundle(saved(other, tmp_path / "other.onnx"))
    binary = copied(graph)                         # softmax over one output is 1 for any image
    for constant in (c for c in binary.graph.initializer if c.dims[:1] == [10]):
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant)[:1], constant.name))
    with pytest.raises(BundleError, match="it has no classifier of two classes or more"):
        load_bundle(saved(binary, tmp_path / "binary.onnx"))


def test_external_weights_count_in_the_hash(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = set()
    for folder, factor in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        model = copied(graph)
        bias = next(constant for constant in model.graph.initializer if list(constant.dims) == [10])
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * factor, bias.name))
        onnx.save(model, "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
        hashes.add(load_bundle(ModelChoice("m.onnx")).card.weights_sha256)
    assert len(hashes) == 2
    (tmp_path / "c" / "m.data").unlink()
    with pytest.raises(WeightsError, match=r"cannot read m\.onnx as ONNX"):
        load_bundle(ModelChoice("m.onnx"))


def test_a_fixed_number_of_images_is_refused_in_words(graph: onnx.ModelProto, tmp_path: Path) -> None:
    model = copied(graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    with pytest.raises(BundleError, match=r"eight\.onnx takes 8 images at once") as caught:
        load_bundle(saved(model, tmp_path / "eight.onnx"))
    assert "for one image" in caught.value.hint


def test_quantised_graphs_and_other_axes_are_named(graph: onnx.ModelProto, tmp_path: Path) -> None:
    quantised, last = copied(graph), copied(graph)
    quantised.graph.node.append(helper.make_node("QLinearConv", ["x"], ["y"]))
    with pytest.raises(BundleError, match=r"q\.onnx is quantised: it has QLinearConv") as error:
        load_bundle(saved(quantised, tmp_path / "q.onnx"))
    assert "'wrn compile'" in error.value.hint
    for dim, size in zip(last.graph.input[0].type.tensor_type.shape.dim, (1, 32, 32, 3), strict=True):
        dim.dim_value = size
    with pytest.raises(BundleError, match=r"does not take float32 \[N, 3, H, W\]"):
        load_bundle(saved(last, tmp_path / "last.onnx"))


def test_the_graph_of_a_bundle_is_that_bundle_but_not_without_its_card(tmp_path: Path) -> None:
    card = write_bundle(tmp_path / "made", tiny_bundle())
    assert load_bundle(ModelChoice(str(tmp_path / "made" / "model.onnx"))).card == card
    (tmp_path / "made" / "card.json").unlink()
    with pytest.raises(BundleError, match="the graph of a bundle without its card"):
        load_bundle(ModelChoice(str(tmp_path / "made" / "model.onnx")))


def test_an_input_of_thousands_of_pixels_is_refused(graph: onnx.ModelProto, tmp_path: Path) -> None:
    model = copied(graph)
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 8000
    with pytest.raises(BundleError, match="more than 1,024 pixels a side"):
        load_bundle(saved(model, tmp_path / "theirs.onnx"))


def test_a_graph_that_ends_or_holds_its_process_is_an_error(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(saved(graph, tmp_path / "theirs.onnx").name)
    images = np.zeros((1, 3, 32, 32), np.float32)
    assert run_onnx.run_onnx(path, images).shape == (1, 10)
    monkeypatch.setattr(run_onnx, "SECONDS", 0.01)
    with pytest.raises(BundleError, match=r"theirs\.onnx cannot be run: .*timed out"):
        run_onnx.run_onnx(path, images)
    monkeypatch.setattr(run_onnx, "SECONDS", 60)
    fault = tmp_path / "python"
    fault.write_text("#!/bin/sh\nkill -SEGV $$\n")
    fault.chmod(0o755)
    monkeypatch.setattr(run_onnx.sys, "executable", str(fault))
    with pytest.raises(BundleError, match=r"cannot be run: .*SIGSEGV"):
        run_onnx.run_onnx(path, images)
