"""``wrn export --format torchvision|timm|safetensors``: a state dict that the library loads, also after fine-tuning."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import wideresnet
from commands import Wrn
from fakes import calibrated_bundle, tiny_bundle, tiny_images, tiny_tensors
from variants import IMAGENET_VARIANTS
from wideresnet.architectures import get_architecture, with_variant
from wideresnet.bundle import write_bundle
from wideresnet.bundle.derive import with_preprocess
from wideresnet.engines import open_engine
from wideresnet.records import FileFacts
from wideresnet.tasks.load.assumed_card import option_of
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.weights.read import save_tensors

torch = pytest.importorskip("torch")

from wideresnet.models import create_model  # noqa: E402 - with torch

NETWORK = get_architecture("wrn_imagenet_18_1", 10)           # resnet18, the smallest of torchvision's and timm's


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A weights file of ``NETWORK``, which sees 32 pixels."""
    save_tensors(tmp_path / "source.safetensors", tiny_tensors(NETWORK), {})
    transform = {"input_size": [3, 32, 32], "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3], "crop_pct": 0.8}
    document = {"pretrained_cfg": transform, "label_names": [f"name {index}" for index in range(10)]}
    (tmp_path / "config.json").write_text(json.dumps(document))
    return tmp_path / "source.safetensors"


def torch_logits(state: dict[str, Any], images: np.ndarray) -> np.ndarray:
    """The logits of a state dict in the torch module, which has torchvision's and timm's keys and shapes."""
    module = create_model("wrn_imagenet_18_1", len(state["fc.bias"])).eval()
    module.load_state_dict(state, strict=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3)))
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return module((x - mean) / std).numpy()


def logits(model: str, images: np.ndarray) -> np.ndarray:
    return open_engine(load_bundle(ModelChoice(model)))(images)


def test_both_libraries_files_load_strictly_and_compute_the_same(wrn: Wrn, source: Path) -> None:
    images = tiny_images(3, 32)
    before = logits(str(source), images)
    done = wrn("export", "-m", source, "--format", "torchvision", "-o", "vision.pth")
    assert (done.code, done.notes) == (0, "")
    assert "vision.pth: source for torchvision, 44." in done.out
    state = torch.load("vision.pth", weights_only=True)
    assert list(state) == list(NETWORK.tensors()), "torchvision's order"
    assert np.abs(torch_logits(state, images) - before).max() <= 1e-5
    done = wrn("export", "-m", source, "--format", "timm", "-o", "hub/pytorch_model.bin")
    assert (done.code, done.notes) == (0, "")
    assert torch.load("hub/pytorch_model.bin", weights_only=True).keys() == state.keys()
    assert json.loads(Path("hub/config.json").read_text())["architecture"] == "resnet18"
    loaded, original = (load_bundle(ModelChoice(model)) for model in ("hub/pytorch_model.bin", str(source)))
    assert (loaded.card.preprocess, loaded.labels) == (original.card.preprocess, original.labels)
    assert np.abs(open_engine(loaded)(images) - before).max() <= 1e-5


def test_python_says_what_a_file_for_timm_leaves_out(source: Path, tmp_path: Path) -> None:
    bundle = load_bundle(ModelChoice(str(source)))
    opencv = replace(bundle.card.preprocess, interpolation="opencv-bilinear")
    write_bundle(tmp_path / "made", with_preprocess(bundle, opencv))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    for folder, left_out in (("hub", ""), ("full", "no config.json written: .* has other files")):
        card = wideresnet.export(tmp_path / folder / "model.safetensors", tmp_path / "made", library="timm")
        assert re.search(f"timm has no resize of OpenCV: .*{left_out}", card.notes["export"])


@pytest.mark.parametrize("mode", ["probe", "full"])
@pytest.mark.usefixtures("one_thread")
def test_a_fine_tuned_network_is_exported(wrn: Wrn, source: Path, tmp_path: Path, mode: str) -> None:
    for name, colour in (("n01440764", "red"), ("n03126707", "blue")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (44, 40), colour).save(tmp_path / "pets" / name / f"{number}.png")
    few = ("--set", "epochs=1", "--set", "sizes=[[0,32]]") if mode == "full" else ()
    done = wrn("finetune", "--from", source, "--data", "pets", "-o", "run", "--mode", mode, *few)
    assert done.code == 0, done.err
    assert wrn("export", "-m", "run/bundle", "--format", "timm", "-o", "hub/model.safetensors").code == 0
    images = tiny_images(3, 32)
    before = logits("run/bundle", images)
    assert np.abs(torch_logits(load_file("hub/model.safetensors"), images) - before).max() <= 1e-5
    assert np.abs(logits("hub/model.safetensors", images) - before).max() <= 1e-5
    assert len(json.loads(Path("hub/config.json").read_text())["label_names"]) == 2


@pytest.mark.parametrize("variant", IMAGENET_VARIANTS, ids=str)
def test_a_variant_is_for_this_package_alone(wrn: Wrn, tmp_path: Path, variant: dict[str, Any]) -> None:
    save_tensors(tmp_path / "a.safetensors", tiny_tensors(with_variant(NETWORK, variant)), {})
    options = [f"{option_of(field)}={value}" for field, value in variant.items()]
    refused = wrn("export", "-m", "a.safetensors", *options, "--format", "torchvision", "-o", "b.pth")
    assert (refused.code, "torchvision has no wrn_imagenet_18_1 (variant: " in refused.err) == (2, True)
    assert wrn("export", "-m", "a.safetensors", *options, "--format", "safetensors", "-o", "b.safetensors").code == 0
    original = load_bundle(ModelChoice("a.safetensors", facts=FileFacts(variant=variant)))
    loaded, images = load_bundle(ModelChoice("b.safetensors")), tiny_images(2, 224)
    assert loaded.card.variant == variant
    assert loaded.card.assumed == original.card.assumed, "what was assumed stays on the card"
    assert np.abs(open_engine(loaded)(images) - open_engine(original)(images)).max() <= 1e-5


@pytest.mark.parametrize(
    ("arguments", "fault", "hint"),
    [
        (("--format", "timm", "-o", "a.safetensors"), "timm has no wrn_10_1 (variant: none)", "--format safetensors"),
        (("--format", "safetensors", "-o", "a.pth"), "a.pth does not end in .safetensors", "name it a.pth.safetensors"),
        (("--format", "safetensors", "-o", "a.safetensors", "--storage", "fp16"), "--storage has no effect", "leave"),
        (("--format", "safetensors", "-o", "tiny"), "Is a directory", "name another file"),
    ],
)
def test_what_cannot_be_written_is_refused(wrn: Wrn, tiny: Path, arguments: Any, fault: str, hint: str) -> None:
    done = wrn("export", "-m", tiny, *arguments)
    assert (done.code, done.out) == (2, "")
    assert fault in done.err
    assert hint in done.err
    assert [path.name for path in Path().iterdir()] == ["tiny"]


def test_a_bundle_becomes_a_weights_file_and_a_bundle_again(wrn: Wrn, tiny: Path) -> None:
    done = wrn("export", "-m", tiny, "--format", "safetensors", "-o", "new/a.safetensors")
    assert (done.code, done.notes) == (0, "")
    assert wrn("export", "-m", "new/a.safetensors", "-o", "again").notes == "", "without assumptions"
    images = tiny_images(3, 32)
    assert np.abs(logits("again", images) - logits("tiny", images)).max() <= 1e-5


def test_a_weights_file_holds_no_calibration(wrn: Wrn, tmp_path: Path) -> None:
    """Its answers are those of the network before, and a note says so."""
    write_bundle(tmp_path / "tiny", tiny_bundle())
    write_bundle(tmp_path / "sure", calibrated_bundle(tiny_bundle()))
    done = wrn("export", "-m", tmp_path / "sure", "--format", "safetensors", "-o", "a.safetensors")
    assert (done.code, "the calibration is not in the file" in done.err) == (0, True), done.err
    images = tiny_images(3, 32)
    assert np.abs(logits("a.safetensors", images) - logits(str(tmp_path / "tiny"), images)).max() <= 1e-5
    assert wideresnet.load("a.safetensors").classify(images)[0].p_known is None
    kept = wrn("export", "-m", tmp_path / "sure", "-o", "again")
    assert (kept.code, wideresnet.load("again").classify(images)[0].p_known is None) == (0, False), "bundles keep it"
