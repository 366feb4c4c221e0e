"""``wrn calibrate``, and answers of the bundle that it writes."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Wrn
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.engines import open_engine


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model", tiny_bundle())
    return tmp_path / "model"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """72 images in class folders, as the network would answer, with one of each class."""
    rng, bundle = np.random.default_rng(0), tiny_bundle()
    colours = rng.integers(0, 256, (72, 1, 1, 3))
    crops = np.clip(colours + rng.normal(0, 40, (72, 32, 32, 3)), 0, 255).astype(np.uint8)
    answers = open_engine(bundle)(crops).argmax(1)
    answers[:10] = range(10)
    for index, (crop, answer) in enumerate(zip(crops, answers, strict=True)):
        folder = tmp_path / "pictures" / bundle.labels.names[answer]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def test_calibrate_then_classify_with_sets(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10", "--format", "json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["n_fit"], document["n_test"]) == (18, 36)
    assert {"bundle", "temperature", "nll_before", "nll", "brier_before", "brier", "ece_before", "ece"} <= set(document)
    assert set(document["coverage"]["90"]) >= {"realised", "interval95", "mean_size"}
    assert set(document["unknown"]) >= {"method", "refused", "interval95"}
    image = next(pictures.glob("*/*.png"))
    answers = wrn("classify", image, "-m", "new", "--coverage", "90", "--format", "json")
    (row,) = json.loads(answers.out)
    assert row["set"][0] == row["predictions"][0]["label"]
    assert row["unknown"] == (row["p_known"] < 0.1)
    assert "  候选类别：" in wrn("classify", image, "-m", "new", "--coverage", "90", "--lang", "zh").out
    table = wrn("classify", image, "-m", "new", "--coverage", "90", "--format", "csv", "-o", "a.csv")
    assert table.code == 0, table.err
    rows = list(csv.DictReader(io.StringIO(Path("a.csv").read_text())))
    assert json.loads(rows[0]["set"]) == row["set"]
    again = wrn("classify", image, "-m", "new", "--coverage", "90", "--format", "csv", "-o", "a.csv", "--resume")
    assert "nothing is left to do" in again.err


def test_the_page_shows_what_was_measured(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10", "--report", "page.html",
               "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    document, page = json.loads(done.out), Path("page.html").read_text()
    for text in (f"{document['ece']:.2f} %", f"{document['ece_before']:.2f} % before", f"{document['nll']:.4f}",
                 "36 of pictures", "Reliability", "P-values of the images, unknown below 10 %", "right class in",
                 "images measured (36)", "images for thresholds (18)", "unknown: below "):  # fmt: skip
        assert text in page, text
    saved = page.partition('download="calibration.json"')[2].partition("base64,")[2].partition('"')[0]
    assert json.loads(base64.b64decode(saved)) == document


def test_sets_without_a_calibration_are_an_error_with_the_command(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = wrn("classify", pictures, "-m", model, "--coverage", "95")
    assert done.code == 2
    assert f"hint:  wrn calibrate -m {model} --data LABELLED -o BUNDLE" in done.err


def test_levels_beyond_the_images_say_how_many_are_needed(wrn: Wrn, model: Path, pictures: Path) -> None:
    made = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10")
    assert made.code == 0
    assert made.err.endswith("next: wrn classify FILE -m new --coverage 95\nnext: wrn serve -m new\n")
    done = wrn("classify", pictures, "-m", "new", "--coverage", "99")
    assert (done.code, "sets with 99 % take 99 calibration images" in done.err) == (2, True)
    assert wrn("classify", pictures, "-m", "new", "--coverage", "95", "--format", "zoo").code == 2
    assert wrn("classify", pictures, "-m", "new", "--coverage", "20").code == 2


def test_too_few_images_are_an_error(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new")
    assert done.code == 2
    assert "pictures has 72 images: refusing 1 % of genuine images takes 400" in done.err
    assert not Path("new").exists()


def test_an_unreadable_image_is_listed_and_the_exit_code_is_1(wrn: Wrn, model: Path, pictures: Path) -> None:
    next(pictures.glob("*/*.png")).write_bytes(b"no image")
    done = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10")
    assert done.code == 1
    assert "no image" in done.err or "cannot" in done.err or "not" in done.err
    assert Path("new", "card.json").exists()


def test_what_qualifies_the_figures_is_said(wrn: Wrn, model: Path, pictures: Path) -> None:
    """On stderr too, not only in JSON and on the page."""
    for image in list(pictures.glob("*/*.png")):
        image.with_name(f"copy of {image.name}").write_bytes(image.read_bytes())
    done = wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10")
    assert done.code == 0, done.err
    assert re.match(r"warning: \d+ of the images measured are copies of others that fitted: ", done.err), done.err
    for image in pictures.glob("*/copy of *.png"):
        (Path("test") / image.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(image).rotate(180).save(Path("test") / image.parent.name / image.name)
        image.unlink()
    Path("test/cat/notes.md").touch()
    done = wrn("calibrate", "-m", model, "--data", pictures, "--test", "test", "-o", "new", "--refuse", "10")
    assert f"passed over 1 file in {pictures}, test: 1 .md\n" in done.err


def test_what_a_calibration_does_not_hold_for_drops_it_with_a_note(wrn: Wrn, model: Path, pictures: Path) -> None:
    assert wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10").code == 0
    image = next(pictures.glob("*/*.png"))
    note = "note: the calibration was dropped"
    resized = wrn("classify", image, "-m", "new", "--resolution", "64", "--format", "json")
    assert (note in resized.err, "p_known" in resized.out) == (True, False)
    half = wrn("export", "-m", "new", "-o", "half", "--storage", "fp16")
    assert (half.code, note in half.err) == (0, True)
    copy = wrn("export", "-m", "new", "-o", "copy")
    assert (copy.code, note in copy.err) == (0, False)
    assert "p_known" in wrn("classify", image, "-m", "copy", "--format", "json").out


def test_info_shows_the_calibration(wrn: Wrn, model: Path, pictures: Path) -> None:
    assert wrn("calibrate", "-m", model, "--data", pictures, "-o", "new", "--refuse", "10").code == 0
    assert "calibrated" in wrn("info", "new").out
    assert json.loads(wrn("info", "new", "--format", "json").out)["calibrated"]["n_test"] == 36
    assert "calibrated" not in wrn("info", model).out
