"""``wrn compile``: what it prints and writes says what happened, not what was asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Wrn
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A model whose classes are nobody's: no archive is known for it."""
    bundle = tiny_bundle()
    write_bundle(tmp_path / "own", replace(bundle, card=replace(bundle.card, labels_name="")))
    return tmp_path / "own"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Thirty images of three classes, and one file that is none."""
    noise = np.random.default_rng(0)
    for number in range(30):
        path = tmp_path / "images" / ("cat", "dog", "ship")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    (tmp_path / "images" / "cat" / "torn.png").write_bytes(b"no image")
    return tmp_path / "images"


def test_few_images_are_shared_and_every_record_has_the_true_numbers(wrn: Wrn, own: Path, images: Path) -> None:
    """Card, JSON, text and page give the images that calibrated and judged; what cannot be read is exit code 1."""
    pytest.importorskip("nncf")
    arguments = ("compile", "-m", own, "--calibration", images, "--min-agreement", "0", "-o", "out")
    done = wrn(*arguments, "--format", "json")
    card, found = json.loads(Path("out/card.json").read_text()), done.json
    assert done.code == 1
    assert found["calibration"] == found["quantised"]["samples"] == len(card["calibration"])
    assert card["quantised"] == found["quantised"]
    assert found["calibration"] + found["gate"]["n"] == 30
    assert [Path(each["path"]).name for each in found["failures"]] == ["torn.png"]
    note, calibration = found["notes"]
    assert calibration.startswith("not calibrated: that takes 2,000 labelled images of --data")
    assert "two thirds, one third" in note
    assert done.err.count(f"note: {note}") == 1
    assert "torn.png" in done.err
    shown = wrn(*arguments, "--report", "page.html")
    assert f"{found['calibration']} calibration images" in shown.out
    assert f"ranges by mse, {found['calibration']} images" in shown.out
    page = Path("page.html").read_text("utf-8")
    assert note in page
    assert "torn.png" in page
    assert f"Measured on {found['calibration']} calibration images" in page


def test_a_fine_tuned_bundle_calibrates_and_is_judged_by_the_images_of_its_run(
    wrn: Wrn, own: Path, images: Path
) -> None:
    pytest.importorskip("nncf")
    assert wrn("finetune", "--from", own, "--data", images, "-o", "run").code == 1, "one image cannot be read"
    done = wrn("compile", "-m", "run/bundle", "-o", "out", "--gate", "100", "--format", "json")
    gate = done.json["gate"]
    assert (gate["data"], gate["kind"], gate["n"]) == ("val", "accuracy", 5), "one of six is torn"
    for use, file in (("calibration", "train.csv"), ("gate", "val.csv")):
        assert f"note: images for {use}: {Path('run', file).resolve()}, of the run of the model" in done.err
    done = wrn("compile", "-m", "run/bundle", "--data", "run/train.csv", "-o", "out")
    assert (done.code, "was trained on all 25 images of the gate" in done.err) == (2, True)


def test_a_build_file_that_wants_more_images_than_there_are_is_recorded_truly(
    wrn: Wrn, own: Path, images: Path
) -> None:
    pytest.importorskip("nncf")
    Path("build.yaml").write_text(f"""
name: made
frontend: {{checkpoint: {own}}}
backend: {{dtype: int8}}
dataset: {{path: {images}, sampler: {{get_data_num: 50}}}}
""")
    done = wrn("compile", "build.yaml", "--gate", "none", "-o", "out")
    assert "50 calibration images were requested, 30 could be used" in done.err
    assert json.loads(Path("out/card.json").read_text())["quantised"]["samples"] == 30


def test_where_the_official_set_cannot_be_had_images_of_ones_own_judge(wrn: Wrn, tiny: Path, images: Path) -> None:
    """A network of CIFAR's classes, offline: said, and compiled with what was given."""
    pytest.importorskip("nncf")
    arguments = ("compile", "-m", tiny, "-o", "out", "--min-agreement", "0", "--format", "json")
    done = wrn(*arguments, "--calibration", images)
    assert done.code == 1, "one cannot be read"
    assert "is not on this machine, and offline mode is on: the gate uses images of --calibration instead" in done.err
    assert done.json["gate"]["kind"] == "agreement"
    assert wrn(*arguments).code == 2
