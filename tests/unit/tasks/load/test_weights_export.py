"""Weights files that are written from a bundle: what they hold, what is beside them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakes import tiny_bundle, tiny_images
from variants import CIFAR_VARIANTS
from wideresnet.architectures import get_architecture, with_variant, wrn
from wideresnet.bundle import Bundle
from wideresnet.engines import open_engine
from wideresnet.errors import BundleError, ConfigError
from wideresnet.functions import export
from wideresnet.records import Labels, Preprocess
from wideresnet.tasks.load.hub_config import config_text, read_config
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.weights_file import FUNCTIONS, check_weights_target, write_file


def answers(bundle: Bundle) -> np.ndarray:
    return open_engine(bundle)(tiny_images(3, bundle.card.preprocess.crop))


@pytest.mark.parametrize("variant", CIFAR_VARIANTS, ids=str)
def test_every_variant_comes_back_without_assumptions(tmp_path: Path, variant: dict[str, Any]) -> None:
    bundle = tiny_bundle(with_variant(wrn(10, 1), variant))
    spec = Preprocess(40, 32, "bicubic", mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3), alpha="white")
    card = replace(bundle.card, name="mine", labels_name="", notes={"seed": "3"}, preprocess=spec)
    bundle = replace(bundle, card=card, labels=Labels(tuple(f"name {index}" for index in range(10))))
    bundle = load_again(tmp_path / "first.safetensors", bundle)           # its graph now normalises as its card says
    second = load_again(tmp_path / "second.safetensors", bundle)
    assert np.abs(answers(second) - answers(bundle)).max() <= 1e-5
    ours = ("weights_sha256", "weights_source", "made_with", "files")
    assert {key: value for key, value in vars(second.card).items() if key not in ours} == {
        key: value for key, value in vars(card).items() if key not in ours
    }
    assert (second.labels, second.card.variant, second.card.assumed) == (bundle.labels, variant, ())


def test_the_card_inside_a_file_goes_before_a_config_beside_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"num_classes": 3, "label_names": ["a", "b", "c"]}')
    assert load_again(tmp_path / "a.safetensors", tiny_bundle()).labels == tiny_bundle().labels


def load_again(path: Path, bundle: Bundle) -> Bundle:
    assert write_file(path, bundle, "safetensors") == []
    return load_bundle(ModelChoice(str(path)))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    from wideresnet.tasks.quantize.compile import in_precision

    half = in_precision(tiny_bundle(), "fp16")
    loaded = load_again(tmp_path / "a.safetensors", half)
    assert loaded.card.precision == "fp32"
    assert np.abs(answers(loaded) - answers(half)).max() <= 1e-5


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_libraries_networks_are_ours_by_name(name: str) -> None:
    """Torchvision's and timm's module of this name has these keys (see test_architectures for the oracle)."""
    network = get_architecture(name)
    assert network.variant() == {}
    assert (FUNCTIONS[name] == name) == name.startswith("wide_resnet")
    assert f"{network.depth}" in FUNCTIONS[name]


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    ("architecture", "variant"), [("wrn_10_1", {}), ("wide_resnet50_2", {"pool": "max"}), ("wide_resnet14_2", {})]
)
def test_a_network_that_the_library_lacks_is_refused(
    tmp_path: Path, library: str, architecture: str, variant: dict[str, Any]
) -> None:
    bundle = tiny_bundle()
    bundle = replace(bundle, card=replace(bundle.card, architecture=architecture, variant=variant))
    with pytest.raises(ConfigError, match=f"{library} has no {architecture} ") as caught:
        write_file(tmp_path / "new" / "a.safetensors", bundle, library)
    assert "--format safetensors" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_network_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    model = type(bundle.model).FromString(bundle.graph)
    for constant in model.graph.initializer:                  # as int8 graphs call them
        constant.name += ".quantised"
    with pytest.raises(BundleError) as caught:
        write_file(tmp_path / "a.safetensors", bundle.with_model(model), "safetensors")
    assert "quantised" in caught.value.hint


@pytest.mark.parametrize(("library", "name"), [("timm", "a"), ("torchvision", "a.onnx"), ("safetensors", "a.pth")])
def test_the_suffix_says_what_is_written(tmp_path: Path, library: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} does not end in .safetensors") as caught:
        check_weights_target(tmp_path / name, library)
    assert f"{name}.safetensors" in caught.value.hint
    check_weights_target(tmp_path / "a.safetensors", library)


@pytest.mark.parametrize("source", ["file", "clone", "shards", "link"])
def test_a_file_does_not_overwrite_the_model_that_it_is_made_from(tmp_path: Path, source: str) -> None:
    file, model = tmp_path / "model.safetensors", tmp_path / "link.safetensors"
    file.write_bytes(b"weights")
    if source in ("clone", "shards"):
        (tmp_path / "config.json").write_text("{}")
        model = tmp_path
    if source == "shards":
        file.rename(tmp_path / "model-1.safetensors")
        (tmp_path / "model.safetensors.index.json").write_text("{}")
        file = tmp_path / "model-1.safetensors"
    elif source == "link":
        model.symlink_to(file)
    elif source == "file":
        model = file
    with pytest.raises(ConfigError, match="would overwrite the model that it is made from"):
        check_weights_target(file, "safetensors", None, model)
    check_weights_target(tmp_path / "new.safetensors", "safetensors", model, "wide_resnet50_2.tv_in1k")
    with pytest.raises(ConfigError, match="would overwrite the model"):
        export(file, model, library="safetensors")


# What timm reads


def resnet18(**card: Any) -> Bundle:
    """A bundle whose network timm has, with a graph that is none."""
    bundle = tiny_bundle()
    return Bundle(replace(bundle.card, architecture="wrn_imagenet_18_1", **card), bundle.labels, b"")


@pytest.mark.parametrize("mode", ["shortest", "squash"])
@pytest.mark.parametrize(
    ("resize", "crop"),
    [(256, 224), (232, 224), (224, 224), (32, 32), (25, 7), (129, 128), (292, 288), (497, 4096), (32, 64)],
)
def test_the_transform_of_the_config_is_the_cards(tmp_path: Path, resize: int, crop: int, mode: str) -> None:
    spec = Preprocess(resize, crop, "bicubic", mode, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))      # type: ignore
    text = config_text("resnet18", resnet18(preprocess=spec))
    (tmp_path / "config.json").write_text(text)
    config = read_config(tmp_path / "model.safetensors", get_architecture("wrn_imagenet_18_1"), 10)
    assert config is not None
    assert (config.preprocess, config.labels) == (spec, Labels(tiny_bundle().labels.names))
    stated = json.loads(text)["pretrained_cfg"]
    assert int(crop / stated["crop_pct"]) == resize, "timm rounds down"
    assert stated["crop_pct"] == pytest.approx(crop / resize)
    assert (stated["num_classes"], stated["first_conv"], stated["classifier"]) == (10, "conv1", "fc")


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle's graph has one tensor, since the files beside the weights are tested."""
    monkeypatch.setattr("wideresnet.bundle.derive.read_weights", lambda _: {"fc.bias": np.ones(10, np.float32)})


@pytest.mark.usefixtures("tensors")
def test_the_config_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "new" / "model.safetensors"
    assert write_file(file, resnet18(), "timm") == []
    assert json.loads(file.with_name("config.json").read_text())["architecture"] == "resnet18"
    assert write_file(file, resnet18(), "timm") == [], "the same command again"
    with pytest.raises(ConfigError, match="describes another model"):
        write_file(file, resnet18(classes=7), "timm")
    (tmp_path / "other.txt").write_text("")
    (note,) = write_file(tmp_path / "model.pth", resnet18(), "timm")
    assert "no config.json written" in note
    assert {path.name for path in tmp_path.iterdir()} == {"new", "other.txt", "model.pth"}


@pytest.mark.usefixtures("tensors")
@pytest.mark.parametrize("library", ["timm", "torchvision"])
@pytest.mark.parametrize("text", [json.dumps({"label_names": list("abcdefghij")}), "{}".encode("utf-16"), None])
def test_another_models_config_stays_and_describes_no_new_file(tmp_path: Path, library: str, text: Any) -> None:
    config = tmp_path / "config.json"
    config.mkdir() if text is None else config.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match="describes another model") as caught:
        write_file(tmp_path / "model.pth", resnet18(), library)
    assert caught.value.hint == "name a file in a new folder with -o"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.usefixtures("tensors")
def test_a_config_of_the_same_model_may_lie_beside_a_new_file(tmp_path: Path) -> None:
    own = json.loads(config_text("resnet18", resnet18()))
    for document in (own, own | {"architectures": []}, {}):
        (tmp_path / "config.json").write_text(json.dumps(document))
        assert write_file(tmp_path / "model.pth", resnet18(), "torchvision") == []
    assert torch.load(tmp_path / "model.pth", weights_only=True)["fc.bias"].dtype == torch.float32


@pytest.mark.usefixtures("tensors")
def test_timm_is_said_to_drop_transparency(tmp_path: Path) -> None:
    bundle = resnet18()
    card = replace(bundle.card, preprocess=replace(bundle.card.preprocess, alpha="white"))
    (note,) = write_file(tmp_path / "model.safetensors", replace(bundle, card=card), "timm")
    assert "takes transparent images on white" in note
