"""``wrn evaluate --coverage``: sets and unknown images, counted exactly in every way of running."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import wideresnet
from commands import Done, Wrn
from fakes import tiny_bundle, tiny_cascade, tiny_images, wary_bundle
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.errors import ConfigError
from wideresnet.prediction_sets import check_coverage, precision_notes
from wideresnet.records import EngineInfo

IMAGES = tiny_images(30, 32)
COUNTED = "coverage", "unknown", "nll", "brier", "classes", "calibration_error"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "model", wary_bundle(IMAGES))
    return tmp_path / "model"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """30 images of noise, three of each class."""
    for index, image in enumerate(IMAGES):
        folder = tmp_path / "pictures" / tiny_bundle().labels.names[index % 10]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    return tmp_path / "pictures"


def evaluate(wrn: Wrn, model: Path, pictures: Path, *more: object) -> Done:
    return wrn("evaluate", pictures, "-m", model, "--skip-order-check", *more)


def test_sets_and_unknown_images_are_those_of_the_answers(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = evaluate(wrn, model, pictures, "--coverage", "75", "--format", "json")
    assert done.code == 0, done.err
    document = done.json
    answers = wrn("classify", pictures, "-m", model, "--coverage", "75", "--format", "json").json
    sizes = [len(answer["set"]) for answer in answers]
    covered = sum(Path(answer["path"]).parent.name in answer["set"] for answer in answers)
    unknown = sum(answer["unknown"] for answer in answers)
    assert 0 < unknown < 30
    coverage = document["coverage"]
    assert (coverage["level"], coverage["n"]) == (75, 30)
    assert coverage["realised"] == pytest.approx(100 * covered / 30)
    assert coverage["interval95"][0] < coverage["realised"] < coverage["interval95"][1]
    assert coverage["mean_size"] == pytest.approx(np.mean(sizes))
    assert coverage["sizes"] == [sizes.count(size) for size in range(1, max(sizes) + 1)]
    assert document["unknown"]["n"] == unknown
    assert document["unknown"]["refused"] == pytest.approx(100 * unknown / 30, abs=1e-3)
    assert (document["unknown"]["promised"], sum(document["unknown"]["p_values"])) == (30, 30)
    bins = [min(int(answer["p_known"] * 20), 19) for answer in answers]
    assert document["unknown"]["p_values"] == [bins.count(index) for index in range(20)]


def test_losses_and_coverage_by_class_are_those_of_the_answers(wrn: Wrn, model: Path, pictures: Path) -> None:
    document = evaluate(wrn, model, pictures, "--coverage", "75", "--format", "json").json
    answers = wrn("classify", pictures, "-m", model, "--coverage", "75", "--top-k", "10", "--format", "json").json
    names = [Path(answer["path"]).parent.name for answer in answers]
    losses, errors = [], []
    for answer, name in zip(answers, names, strict=True):
        values = {score["label"]: score["probability"] for score in answer["predictions"]}
        losses.append(-np.log(values[name]))
        errors.append(sum((value - (label == name)) ** 2 for label, value in values.items()))
    assert document["nll"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert document["brier"] == pytest.approx(np.mean(errors), rel=1e-5)
    for row in document["classes"]:
        sets = [answer["set"] for answer, name in zip(answers, names, strict=True) if name == row["label"]]
        assert row["covered"] == sum(row["label"] in members for members in sets)
        assert row["coverage"] == pytest.approx(100 * row["covered"] / len(sets), abs=1e-3)
    assert sum(row["covered"] for row in document["classes"]) == document["counts"]["uncertainty"]["sets"]["covered"]


def test_text_and_page_show_them(wrn: Wrn, model: Path, pictures: Path) -> None:
    done = evaluate(wrn, model, pictures, "--coverage", "75", "--report", "page.html")
    assert "  sets at 75 % hold the right class of " in done.out
    assert " classes on average: 1 for " in done.out
    assert "  by class from " in done.out
    assert ", NLL " in done.out
    assert "  unknown: " in done.out
    assert "  of genuine images 30 % are promised" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    page = Path("page.html").read_text()
    for text in ("coverage of sets at 75 %", "called unknown", "Classes in a set", "P-values of the images",
                 "in its set", "NLL "):
        assert text in page


def test_without_coverage_unknown_images_are_counted_alone(wrn: Wrn, model: Path, pictures: Path) -> None:
    document = evaluate(wrn, model, pictures, "--format", "json").json
    assert document["coverage"] is None
    assert document["unknown"]["n"] > 0


def test_a_model_without_calibration_has_none_of_it(wrn: Wrn, pictures: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "plain", tiny_bundle())
    document = evaluate(wrn, tmp_path / "plain", pictures, "--format", "json", "-o", "scores.jsonl").json
    assert not {"coverage", "unknown"} & set(document)
    assert document["counts"]["uncertainty"] is None
    row = json.loads(Path("scores.jsonl").read_text().splitlines()[0])
    assert not {"p_known", "unknown", "coverage", "set_size", "covered"} & set(row)
    refused = evaluate(wrn, tmp_path / "plain", pictures, "--coverage", "95")
    assert (refused.code, "it is not calibrated" in refused.err) == (2, True)
    assert f"hint:  wrn calibrate -m {tmp_path / 'plain'} --data LABELLED -o BUNDLE" in refused.err


def test_shards_add_up(wrn: Wrn, model: Path, pictures: Path) -> None:
    at = ("--coverage", "75", "--format", "json")
    document = evaluate(wrn, model, pictures, *at).json
    for part in ("1", "2"):
        Path(f"{part}.json").write_text(evaluate(wrn, model, pictures, *at, "--shard", f"{part}/2").out)
    merged = wrn("merge", "1.json", "2.json", "--format", "json").json
    assert {key: merged[key] for key in COUNTED} == {key: document[key] for key in COUNTED}
    other = evaluate(wrn, model, pictures, "--coverage", "60", "--format", "json", "--shard", "2/2")
    Path("2.json").write_text(other.out)
    refused = wrn("merge", "1.json", "2.json")
    assert (refused.code, "the coverage is '75 %' in one and '60 %' in the other" in refused.err) == (2, True)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_resumed_run_counts_every_image(wrn: Wrn, model: Path, pictures: Path, ending: str) -> None:
    """A complete file is read again: its rows hold everything that is counted."""
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    at = ("--coverage", "75", "--format", "json", "-o", f"scores.{ending}")
    first = evaluate(wrn, model, pictures, *at).json
    again = evaluate(wrn, model, pictures, *at, "--resume")
    assert again.code == 0, again.err
    assert {key: again.json[key] for key in COUNTED} == {key: first[key] for key in COUNTED}
    other = evaluate(wrn, model, pictures, "--coverage", "60", "-o", f"scores.{ending}", "--resume")
    assert (other.code, "other settings" in other.err) == (2, True)


def test_the_same_from_python(wrn: Wrn, model: Path, pictures: Path) -> None:
    document = evaluate(wrn, model, pictures, "--coverage", "75", "--format", "json").json
    for report in (
        wideresnet.evaluate(model, pictures, coverage=0.75),
        wideresnet.load(model).evaluate(pictures, coverage=0.75),
    ):
        assert report.uncertainty is not None
        assert report.uncertainty.unknown == document["unknown"]["n"]
        assert report.uncertainty.sets is not None
        assert list(report.uncertainty.sets.sizes) == document["coverage"]["sizes"]


def test_answers_of_other_programs_have_no_sets(wrn: Wrn, pictures: Path) -> None:
    done = wrn("evaluate", "--results", "result.txt", "--coverage", "95")
    assert (done.code, "--coverage has no effect" in done.err) == (2, True)


def test_another_arithmetic_or_alpha_is_noted(wrn: Wrn, model: Path, pictures: Path) -> None:
    """Both keep the calibration; the promises are for f32, and for images treated as before."""
    sentence = "calibrated in f32: probabilities and sets in bf16 are close to it, and not guaranteed"
    card = read_bundle(model).card
    f32 = EngineInfo("openvino", "1", "CPU", "f32", 1)
    bf16 = replace(f32, precision="bf16")
    assert (precision_notes(card, bf16), precision_notes(card, f32)) == ((sentence,), ())
    assert precision_notes(tiny_bundle().card, bf16) == ()
    note = "note: calibrated with another alpha: probabilities and sets of transparent images are not guaranteed"
    assert note in wrn("classify", pictures, "-m", model, "--alpha", "white").err
    assert "calibrated" not in wrn("classify", pictures, "-m", model, "--alpha", "drop").err


def test_the_hint_fits_the_reason_of_no_sets(wrn: Wrn, model: Path, pictures: Path, tmp_path: Path) -> None:
    """A calibration that was dropped, a cascade, and from Python a model that was named by its path."""
    done = wrn("classify", pictures, "-m", model, "--resolution", "64", "--coverage", "75")
    assert (done.code, "its calibration holds for one precision and preprocessing" in done.err) == (2, True)
    assert "hint:  use the model as it was calibrated, or write this with 'wrn compile --data'" in done.err
    write_bundle(tmp_path / "plain", tiny_bundle())
    for call in (wideresnet.load(tmp_path / "plain").evaluate, partial(wideresnet.evaluate, tmp_path / "plain")):
        with pytest.raises(ConfigError, match="it is not calibrated") as error:
            call(pictures, coverage=0.75)
        assert f"wrn calibrate -m {tmp_path / 'plain'} " in (error.value.hint or "")
    with pytest.raises(ConfigError, match="cascades are not calibrated") as error:
        check_coverage(tiny_cascade().card, 0.75)
    assert "wrn calibrate" not in (error.value.hint or "")
