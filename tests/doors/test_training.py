"""``wrn train`` on class folders: from photographs to a model that classify and evaluate take as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from doors import Wrn
from wideresnet.bundle import read_bundle

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = 4
batch_size = 8
learning_rate = 0.05
stored = 20
sizes = [[0, 16]]
input_size = 18
input_resize = 20
"""
CLASSES = {"n01440764": "red", "n03126707": "blue"}                     # a tench, and the crane that is a machine


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """``pets``/train and /val: plain pictures of two classes, told apart by their colour."""
    shades = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 3)):
        for name, colour in CLASSES.items():
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for number in range(count):
                bright = int(shades.integers(120, 256))
                rgb = (bright, 0, 0) if colour == "red" else (0, 0, bright)
                Image.new("RGB", (30, 24), rgb).save(tmp_path / "pets" / part / name / f"{number:02}.png")
    (tmp_path / "pets.toml").write_text(RECIPE)
    return tmp_path / "pets"


def test_from_photographs_to_answers(wrn: Wrn, pets: Path) -> None:
    done = wrn("train", "pets.toml", "--data", pets, "--format", "json")
    assert (done.code, done.err, done.json) == (0, "", {"run": "runs/pets", "epochs": 4, "top1": 100.0})
    model = "runs/pets/model.safetensors"
    report = wrn("evaluate", pets / "val", "-m", model, "--format", "json").json
    assert (report["n"], report["top1"]) == (6, 100.0)
    answer = wrn("classify", pets / "val/n03126707", "-m", model, "--format", "json").json[0]
    assert "crane" in answer["predictions"][0]["label"]

    assert wrn("export", "-m", model, "-o", "mine").code == 0
    bundle = read_bundle(Path("mine"))
    assert (bundle.card.name, bundle.card.classes, bundle.card.licence) == ("wrn_10_1.pets", 2, "unknown")
    assert (bundle.card.preprocess.resize, bundle.card.preprocess.crop) == (20, 18)
    assert bundle.labels.ids == tuple(CLASSES)
    assert wrn("evaluate", pets / "val", "-m", "mine", "--format", "json").json["top1"] == 100.0


def test_the_run_says_what_it_was_trained_on(wrn: Wrn, pets: Path) -> None:
    (pets / "train/n01440764/broken.png").write_bytes(b"no picture")
    done = wrn("train", "pets.toml", "--data", "pets")
    assert done.code == 1, "a picture could not be read"
    assert "broken.png: not a picture" in done.err
    assert "pets: 24 pictures of 2 classes to train on, 6 to test" in done.err
    kept = json.loads(Path("runs/pets/data.json").read_text())
    assert (kept["name"], kept["train"], kept["test"], kept["labels"]["ids"]) == ("pets", 24, 6, list(CLASSES))
    assert [Path(failure["path"]).name for failure in kept["failures"]] == ["broken.png"]


def test_a_run_goes_on_with_the_same_pictures_only(wrn: Wrn, pets: Path) -> None:
    assert wrn("train", "pets.toml", "--data", "pets").code == 0
    assert wrn("train", "pets.toml", "--data", pets).code == 0, "the same by another path"
    shutil.copy(pets / "val/n01440764/00.png", pets / "train/n01440764/more.png")
    done = wrn("train", "pets.toml", "--data", "pets")
    assert (done.code, "holds a run on other pictures; different: train" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "pets.toml trains on class folders of yours"),
        (["--data", "absent"], "absent has no folder 'train'"),
        (["--data", "pets/train"], "pets/train has no folder 'train'"),
        (["--data", "pets", "--set", "stored=10"], "stored pictures of 10 pixels are smaller than sizes asks for"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error_before_anything_is_written(
    wrn: Wrn, pets: Path, arguments: list[str], said: str
) -> None:
    done = wrn("train", "pets.toml", *arguments)
    assert (done.code, said in done.err) == (2, True)
    assert not Path("runs").exists()
