"""``wrn cascade``, and the commands that take the bundle that it writes."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import wideresnet
from commands import Wrn
from fakes import TINY, tiny_bundle, tiny_cascade, tiny_members
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.engines import open_engine
from wideresnet.errors import ConfigError
from wideresnet.logits import certainty
from wideresnet.records import Batch, Failure, Item, wilson_interval
from wideresnet.tasks.cascade import cascade
from wideresnet.tasks.cascade.cascade import split_member


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, and 240 images in class folders as the accurate one answers; the same without labels."""
    path, rng = tmp_path_factory.mktemp("cascade"), np.random.default_rng(3)
    accurate = tiny_bundle(TINY["wrn_16_2"])
    write_bundle(path / "fast", tiny_bundle(TINY["wrn_10_1"]))
    write_bundle(path / "accurate", accurate)
    crops = np.clip(rng.integers(0, 256, (240, 1, 1, 3)) + rng.normal(0, 40, (240, 32, 32, 3)), 0, 255).astype(np.uint8)
    for number, (crop, answer) in enumerate(zip(crops, open_engine(accurate)(crops).argmax(1), strict=True)):
        for file in (f"labelled/{accurate.labels.names[answer]}/{number:03}.png", f"photos/{number:03}.png"):
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(crop).save(path / file)
    return path


def test_a_cascade_is_certified_written_and_described(wrn: Wrn, folder: Path) -> None:
    arguments = "cascade", folder / "fast", folder / "accurate", "--data", folder / "labelled", "--max-drop", "40"
    done = wrn(*arguments, "-o", "new", "--format", "json", "--report", "page.html")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["bundle"] == "new"
    assert [member["name"] for member in document["members"]] == ["wrn_10_1.tiny", "wrn_16_2.tiny"]
    assert (document["certified"], "copies" in done.err) == (True, False)
    assert document["bound95"] <= 40
    assert (document["n"], document["n_choice"], document["top1_accurate"]) == (120, 120, 100.0)
    assert document["top1"] == pytest.approx(100 - document["drop"])
    assert document["passed_on"] == pytest.approx(100 * document["reached"][1] / 120, abs=0.001)
    macs = [member["macs"] for member in document["members"]]
    cost = macs[0] + macs[1] * document["passed_on"] / 100
    assert document["macs_ratio"] == pytest.approx(macs[1] / cost, abs=0.001)
    speed = document["speed"]
    assert (speed["n"], len(speed["ratios"])) == (120, len(speed["accurate"]))
    for name, rate in document["images_per_s"].items():
        assert rate == round(statistics.median(speed[name]), 1) > 0
    assert len(document["flips"]) == round(document["drop"] * 1.2)
    cascade = read_bundle(Path("new")).card.cascade
    assert cascade is not None
    assert [cascade.point.rule, *cascade.point.thresholds] == [document["rule"], *document["thresholds"]]
    page = Path("page.html").read_text("utf-8")
    assert page.count("<td>this rule</td>") == 1
    for words in ("Cascade of wrn_10_1.tiny and wrn_16_2.tiny", "certified: on images like these", "Right in A only"):
        assert words in page
    again = wrn(*arguments, "-o", "again")
    assert "certified: on images like these it loses at most 40 points of top-1 against wrn_16_2.tiny" in again.out
    assert "next: wrn info again" in again.err
    assert " turns of 120 images; networks without decoding, batch 8, " in again.out
    repeated = read_bundle(Path("again")).card.cascade
    assert repeated is not None
    assert replace(repeated, speed=None) == replace(cascade, speed=None)
    assert cascade.speed is not None
    assert list(cascade.speed.cascade) == speed["cascade"]


def test_where_no_rule_is_certified_nothing_is_written_and_the_images_needed_are_named(wrn: Wrn, folder: Path) -> None:
    done = wrn("cascade", folder / "fast", folder / "accurate", "--data", folder / "labelled", "-o", "new")
    assert done.code == 1
    assert not Path("new").exists()
    assert "not certified: 120 images cannot exclude more than 0.3 points of top-1 against wrn_16_2.tiny" in done.out
    assert "could" in done.out
    assert "fewer MACs" in done.out
    document = wrn("cascade", folder / "fast", folder / "accurate", "--data", folder / "labelled", "-o", "new",
                   "--format", "json").json  # fmt: skip
    assert (document["bundle"], document["certified"], document["speed"]) == (None, False, None)
    assert document["images_per_s"] == {"accurate": None, "cascade": None}
    assert len(document["curve"]) > 10


def test_copies_in_both_halves_of_the_images_are_said(wrn: Wrn, folder: Path, tmp_path: Path) -> None:
    """A rule that was chosen by an image proves nothing on its copy."""
    for number in range(2):
        shutil.copytree(folder / "photos", tmp_path / f"twice/{number}")
    members = folder / "fast", folder / "accurate"
    done = wrn("cascade", *members, "--data", tmp_path / "twice", "-o", "new")
    said = re.search(r"(\d+) of the images that certify are copies of some that chose the rule", done.err)
    assert said
    assert 80 < int(said[1]) < 160                 # of 240, with a probability of a half


def test_photographs_are_certified_upright_as_they_are_classified(wrn: Wrn, folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6                                  # to be turned by a quarter
    (tmp_path / "turned").mkdir()
    for file in (folder / "photos").iterdir():
        with Image.open(file) as upright:
            upright.rotate(90).save(tmp_path / "turned" / file.name, exif=exif)
    command = "cascade", folder / "fast", folder / "accurate", "-o", "new", "--format", "json", "--data"
    turned, upright = (wrn(*command, data).json for data in (tmp_path / "turned", folder / "photos"))
    assert turned["curve"] == upright["curve"]


def test_an_image_that_one_member_cannot_read_is_left_out_of_all(
    wrn: Wrn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the decoding takes too long in one of the runs."""
    runs, command = [], ("cascade", folder / "fast", folder / "accurate", "--max-drop", "40", "--format", "json")
    load, name = cascade.load_batches, "000.png"

    def load_some(items: Sequence[Item], *arguments: Any, **options: Any) -> Iterator[Batch]:
        runs.append(len(items))
        if len(runs) != 2:
            yield from load(items, *arguments, **options)
            return
        yield Batch(np.zeros((0, 32, 32, 3), np.uint8), (), (Failure(items[0].path, "it takes too long"),))
        yield from load(items[1:], *arguments, **options)

    (folder / "fewer").mkdir()
    for file in (folder / "photos").iterdir():
        if file.name != name:
            (folder / "fewer" / file.name).write_bytes(file.read_bytes())
    expected = wrn(*command, "--data", folder / "fewer", "-o", "new").json
    monkeypatch.setattr(cascade, "load_batches", load_some)
    done = wrn(*command, "--data", folder / "photos", "-o", "again")
    assert (done.code, done.json["curve"], done.json["n"]) == (1, expected["curve"], expected["n"])
    assert f"{name}: it takes too long" in done.err


def test_without_labels_the_answers_are_compared_with_the_last_member(wrn: Wrn, folder: Path) -> None:
    done = wrn("cascade", folder / "fast", folder / "accurate", "--data", folder / "photos", "-o", "new",
               "--max-drop", "40", "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert (document["labelled"], document["top1"], document["top1_accurate"]) == (False, None, None)
    assert read_bundle(Path("new")).card.measured == ()
    text = wrn("cascade", folder / "fast", folder / "accurate", "--data", folder / "photos", "-o", "new")
    assert "cannot exclude more than 0.3 % other answers" in text.out


def test_the_same_weights_at_two_resolutions(wrn: Wrn, folder: Path) -> None:
    done = wrn("cascade", f"{folder / 'accurate'}@16", folder / "accurate", "--data", folder / "labelled", "-o", "new",
               "--max-drop", "99", "--format", "json")  # fmt: skip
    assert done.code == 0, done.err
    members = json.loads(done.out)["members"]
    assert [(member["name"], member["pixels"]) for member in members] == [
        ("wrn_16_2.tiny", 16), ("wrn_16_2.tiny", 32),
    ]  # fmt: skip
    answers = wrn("classify", folder / "photos", "-m", "new", "-k", "1", "--format", "jsonl")
    assert answers.code == 0, answers.err
    assert len(answers.out.splitlines()) == 240


def test_python_makes_the_cascade_of_the_command(folder: Path, tmp_path: Path) -> None:
    members: list[str | wideresnet.Classifier] = [f"{folder / 'accurate'}@16", wideresnet.load(folder / "accurate")]
    report = wideresnet.cascade(tmp_path / "new", members, folder / "labelled", max_drop=0.99)
    assert report.bundle == str(tmp_path / "new")
    assert [member.preprocess.crop for member in report.cascade.members] == [16, 32]
    assert report.cascade.point.bound95 <= report.cascade.max_drop == 0.99
    assert wideresnet.load(tmp_path / "new").card.cascade == report.cascade
    refused = wideresnet.cascade(tmp_path / "none", members, folder / "labelled", max_drop=0.001)
    assert (refused.bundle, (tmp_path / "none").exists()) == ("", False)
    for call, message in (
        (lambda: wideresnet.cascade("x", members, folder, max_drop=1.5), "a fraction above 0, at most 1, got 1.5"),
        (lambda: wideresnet.cascade("x", [], folder), "two networks or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            call()


def test_a_published_name_with_pixels_is_that_model() -> None:
    assert split_member("wide_resnet50_2.tv2_in1k@176") == ("wide_resnet50_2.tv2_in1k@176", 0)
    assert split_member("wide_resnet50_2.tv2_in1k@192") == ("wide_resnet50_2.tv2_in1k", 192)
    assert split_member("wrn_16_4.cifar10") == ("wrn_16_4.cifar10", 0)


@pytest.mark.parametrize(("members", "error"), [
    (["accurate"], "a cascade has two networks or more"),
    (["accurate", "fast"], "no rule costs less than the last member alone"),
    (["fast", "missing/model"], "no model at"),
])  # fmt: skip
def test_members_that_make_no_cascade_are_refused(wrn: Wrn, folder: Path, members: list[str], error: str) -> None:
    done = wrn("cascade", *(folder / name for name in members), "--data", folder / "labelled", "-o", "new")
    assert (done.code, error in done.err) == (2, True)
    assert not Path("new").exists()


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """A cascade that passed on 30 of 100 images at certification, and passes on every second of ``folder``."""
    crops = np.stack([np.asarray(Image.open(file)) for file in sorted((folder / "photos").iterdir())])
    sure = certainty(open_engine(tiny_bundle(TINY["wrn_10_1"]))(crops), "margin", 1.5)
    write_bundle(folder / "made", tiny_cascade(thresholds=(float(np.median(sure)),)))
    return folder / "made"


def test_an_evaluation_counts_the_images_passed_on_in_shards_and_in_files(wrn: Wrn, folder: Path, made: Path) -> None:
    arguments = "evaluate", folder / "labelled", "-m", made, "--format", "json"
    document = wrn(*arguments).json
    assert document["counts"]["passed_on"] == {"images": 120, "n": 240, "certified95": list(wilson_interval(30, 100))}
    assert document["passed_on"] == {"fraction": 50.0, "certified95": [21.895, 39.585], "is_unusual": True}
    for part in ("1", "2"):
        Path(f"{part}.json").write_text(wrn(*arguments, "--shard", f"{part}/2").out)
    merged = wrn("merge", "1.json", "2.json")
    assert "passed on: 50.00 % of 240 images, outside 21.89 to 39.58 % at certification" in merged.out
    for format in ("csv", "jsonl", "parquet"):
        assert wrn(*arguments, "-o", f"s.{format}").json["passed_on"] == document["passed_on"]
        assert wrn(*arguments, "-o", f"s.{format}", "--resume").json["passed_on"] == document["passed_on"]
    plain = wrn("evaluate", folder / "labelled", "-m", folder / "fast", "--format", "json").json
    assert "passed_on" not in plain


def test_classify_says_how_many_images_were_passed_on(wrn: Wrn, folder: Path, made: Path) -> None:
    done = wrn("classify", folder / "photos", "-m", made, "-o", "answers.csv")
    assert done.code == 0
    assert "passed on: 50.00 % of 240 images, outside 21.89 to 39.58 % at certification" in done.err
    assert "certified in" not in done.err
    few = wrn("classify", folder / "photos" / "000.png", "-m", made)
    assert "of 1 images\n" in few.err               # one image shows nothing unusual


def test_another_arithmetic_than_that_of_the_certificate_is_noted(wrn: Wrn, folder: Path, made: Path) -> None:
    for command in (("classify", folder / "photos" / "000.png"), ("evaluate", folder / "labelled")):
        done = wrn(*command, "-m", made, "--engine", "pytorch")
        sentence = "certified in openvino f32: images near a threshold are answered otherwise in pytorch f32"
        assert (done.code, sentence in done.err) == (0, True), done.err
        assert sentence not in wrn(*command, "-m", made).err


def test_other_commands_take_a_cascade_or_refuse_it_in_words(wrn: Wrn, folder: Path, made: Path) -> None:
    done = wrn("compare", folder / "accurate", made, "--data", folder / "labelled", "--format", "json")
    assert done.code == 0, done.err
    assert (done.json["a"]["top1"], done.json["b"]["model"]) == (100.0, "wrn_16_2.tiny-cascade")
    assert wrn("info", made).code == 0
    for command in (
        ("export", "-m", made, "-o", "x"), ("compile", "-m", made, "-o", "x", "--precision", "f16"),
        ("embed", folder / "photos", "-m", made, "-o", "x.npz"), ("explain", folder / "photos", "-m", made, "-o", "x"),
        ("classify", folder / "photos", "-m", made, "--resolution", "64"),
        ("calibrate", "-m", made, "--data", folder / "labelled", "-o", "x"),
    ):  # fmt: skip
        refused = wrn(*command)
        assert refused.code == 2
        assert "is a cascade of 2 networks: this takes one" in refused.err
        assert f"hint:  name one of them, such as {made}/members/1" in refused.err


def test_info_shows_the_members_the_rule_and_mean_costs(wrn: Wrn, folder: Path, made: Path) -> None:
    text = wrn("info", made).out
    for words in ("members", "margin below", "30.00 % (95 % interval 21.89 to 39.58)", "on average"):
        assert words in text
    document = wrn("info", made, "--format", "json").json
    parts = [wrn("info", folder / name, "--format", "json").json for name in ("fast", "accurate")]
    for name in ("macs", "thop_macs"):
        assert document[name] == int(parts[0][name] + 0.3 * parts[1][name])
    assert document["parameters"] == parts[0]["parameters"] + parts[1]["parameters"]
    assert (document["cascade"]["passed_on"], document["cascade"]["reached"]) == (30.0, [100, 30])
    assert "cascade" not in parts[0]


def test_a_benchmark_of_a_cascade_needs_images(wrn: Wrn, folder: Path, made: Path) -> None:
    arguments = "bench", "-m", made, "--iterations", "2", "--rounds", "1", "--format", "json"
    refused = wrn(*arguments)
    assert (refused.code, "a cascade, depends on the images" in refused.err) == (2, True)
    done = wrn(*arguments, "--data", folder / "photos", "--what", "engine", "--what", "end-to-end")
    assert done.code == 0, done.err
    assert [row["model"] for row in done.json["rows"]] == ["wrn_16_2.tiny-cascade"] * 2
    assert done.json["rows"][0]["note"] == "cascade, top-1 60.00 %, its last member alone 60.00 % on noise"
    other = wrn("recommend", "--cascade", made)
    assert (other.code, "cannot be compared with that of the published weights" in other.err) == (2, True)


def test_a_benchmark_of_members_with_different_crops_measures_images(wrn: Wrn, folder: Path) -> None:
    """A batch of pixels is no input of such a cascade: what needs one is left out, with the reason."""
    write_bundle(folder / "mixed", tiny_cascade(*tiny_members("two crops")))
    arguments = "bench", "-m", folder / "mixed", "--data", folder / "photos", "--iterations", "2", "--rounds", "1"
    done = wrn(*arguments, "--what", "latency", "--what", "end-to-end", "--format", "json")
    assert done.code == 0, done.err
    rows = [(row["what"], row["note"].partition(";")[0]) for row in done.json["rows"]]
    assert rows == [("latency", "from an image's bytes"), ("end-to-end", rows[1][1])]
    (reason,) = done.json["skipped"].values()
    assert "its members take different crops" in reason
    refused = wrn(*arguments, "--what", "engine")
    assert (refused.code, "measure --what end-to-end, or latency with --data" in refused.err) == (2, True)
