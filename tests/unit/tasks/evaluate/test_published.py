"""Published accuracy measured again: what is evaluated, what it is held to, and what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fakes import FakeEngine, tiny_bundle, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.bundle import Bundle, write_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import (
    Conditions,
    EvalReport,
    Measured,
    Preprocess,
    Progress,
    Published,
    Target,
    Verification,
    follow,
)
from wideresnet.tasks.evaluate import evaluate
from wideresnet.tasks.evaluate import model as evaluation
from wideresnet.tasks.evaluate import published as verifying
from wideresnet.tasks.evaluate.published import VerifySettings, compare_with_target, find_target, succeeded, verify
from wideresnet.tasks.load.describe import describe
from wideresnet.tasks.load.resolve import EMBEDDED
from wideresnet.weights.catalogue import CATALOGUE, Weights
from wideresnet.weights.read import save_tensors

NAME = "wrn_10_1.fake"
ENGINE = FakeEngine()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no connection, and an engine that is right about ``pictures``."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("WRN_CACHE", str(folder))
    monkeypatch.setenv("WRN_OFFLINE", "1")

    def opened(bundle: Bundle, *_: object) -> Classifier:
        return Classifier(bundle.card, bundle.labels, ENGINE)

    monkeypatch.setattr(evaluation, "open_classifier", opened)
    return folder


@pytest.fixture
def row(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """A row of the catalogue whose file is in the cache."""
    file = cache / "fake.safetensors"
    save_tensors(file, tiny_tensors(get_architecture("wrn_10_1")), {})
    weights = Weights(
        name=NAME,
        architecture="wrn_10_1",
        url="https://example.org/fake.safetensors",
        sha256_prefix=hashlib.sha256(file.read_bytes()).hexdigest()[:8],
        hub="nobody/nothing",
        preprocess=Preprocess(resize=32, crop=32, mode="squash"),
        labels="cifar10",
        licence="Apache-2.0",
        published=(Published(0.9, 1.0, "an imagined paper"),),
    )
    monkeypatch.setitem(CATALOGUE, NAME, weights)
    return weights


def images(folder: Path, wrong: int = 0, classes: Sequence[int] = range(10), of_each: int = 3) -> Path:
    """Class folders with grey images; the first ``wrong`` of each class are of the class five further on."""
    for label in classes:
        (folder / str(label)).mkdir(parents=True)
        for place in range(of_each):
            shown = (label + 5) % 10 if place < wrong else label
            Image.fromarray(ENGINE.image(shown)).save(folder / str(label) / f"{place}.png")
    return folder


def verdicts(settings: VerifySettings) -> dict[str, Verification]:
    return {row.info.name: row for row in map(follow, verify(settings))}


def one(data: Path | None, **settings: int | float | Path) -> Verification:
    return verdicts(replace(VerifySettings(data, (NAME,)), **settings))[NAME]  # type: ignore[arg-type]


def report(correct1: int, correct5: int, n: int) -> EvalReport:
    return EvalReport("net", "imagenet", ENGINE.info, n, correct1, correct5)


@pytest.mark.usefixtures("row")
def test_a_row_as_accurate_as_printed_passes(tmp_path: Path) -> None:
    found = one(images(tmp_path / "val"))
    assert (found.verdict, found.note) == ("passed", "")
    assert found.report is not None
    assert (found.report.n, found.report.correct1) == (30, 30)
    assert found.target == Target(0.9, 1.0, "an imagined paper", 50_000)
    assert found.difference == pytest.approx((0.1, 0.0))
    assert found.allowed is not None
    assert found.allowed.rule == "interval"


@pytest.mark.usefixtures("row")
def test_a_row_that_is_worse_than_printed_fails(tmp_path: Path) -> None:
    found = one(images(tmp_path / "val", wrong=2))
    assert found.verdict == "failed"
    assert found.report is not None
    assert found.report.top1 == pytest.approx(1 / 3)


@pytest.mark.usefixtures("row")
def test_the_whole_set_is_held_to_the_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "IMAGENET_VAL", 30)
    data = images(tmp_path / "val")
    assert one(data).verdict == "failed"
    found = one(data, tolerance=0.1)
    assert found.verdict == "passed"
    assert found.allowed is not None
    assert found.allowed.rule == "tolerance"


def test_the_tolerance_is_of_both_figures_and_includes_its_end() -> None:
    info = describe("wide_resnet50_2.tv_in1k")
    target = Target(0.78468, 0.94086, "torchvision", 50_000)
    right1, right5 = 39_234, 47_043
    for more1, more5, verdict in [(0, 0, "passed"), (50, -50, "passed"), (51, 0, "failed"), (0, -51, "failed")]:
        measured = report(right1 + more1, right5 + more5, 50_000)
        assert compare_with_target(info, target, measured, 0.001).verdict == verdict


def test_one_image_less_than_all_is_a_sample() -> None:
    target = Target(0.78, 0.94, "torchvision", 50_000)
    found = compare_with_target(describe("wide_resnet50_2.tv_in1k"), target, report(39_000, 47_000, 49_999), 0.0)
    assert found.allowed is not None
    assert (found.allowed.rule, found.verdict) == ("interval", "passed")


def test_a_sample_with_few_mistakes_fails_no_model_that_is_as_accurate_as_printed() -> None:
    """One mistake in 50 is seen in 6 % of samples of a model that makes 12 in 10,000."""
    target = Target(0.9, 0.9988, "the card", 10_000)
    found = compare_with_target(describe("wide_resnet50_2.tv_in1k"), target, report(45, 49, 50), 0.0)
    assert found.verdict == "passed"


@pytest.mark.parametrize(("before", "verdict"), [(0.80, "passed"), (0.60, "failed")])
def test_a_figure_of_few_images_is_as_uncertain_as_they_are_few(before: float, verdict: str) -> None:
    """100 images of a model of 87 % have 73 to 95 in 100 right, however many are evaluated now."""
    target = Target(before, 0.99, "measured before", 100)
    found = compare_with_target(describe("wide_resnet50_2.tv_in1k"), target, report(8_700, 9_900, 10_000), 0.001)
    assert found.verdict == verdict


@pytest.mark.usefixtures("row")
def test_a_limit_takes_as_many_of_every_class(tmp_path: Path) -> None:
    found = one(images(tmp_path / "val"), limit=20)
    assert found.report is not None
    assert {each.n for each in found.report.by_class.values()} == {2}
    assert found.report.conditions is not None
    assert found.report.conditions.pictures == 30


@pytest.mark.usefixtures("row")
def test_a_limit_takes_of_large_classes_more(tmp_path: Path) -> None:
    """The figure to compare with counts images, not classes: here 60 of 69 are right, and of classes one of ten."""
    val = images(tmp_path / "val", wrong=1, classes=range(1, 10), of_each=1)
    found = one(images(val, classes=[0], of_each=60), limit=23)
    assert found.report is not None
    assert (found.report.n, found.report.correct1) == (23, 20)


@pytest.mark.usefixtures("row")
def test_some_of_the_classes_are_no_place_for_the_published_figure(tmp_path: Path) -> None:
    found = one(images(tmp_path / "val", classes=range(4)))
    assert found.verdict == "skipped"
    assert found.note == "val holds 4 of 10 classes; the published accuracy is over all"


@pytest.mark.usefixtures("row")
def test_data_of_other_classes_are_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "val" / "n01440764" / "a.png")
    found = one(tmp_path / "val")
    assert (found.verdict, found.report) == ("skipped", None)
    assert "n01440764 fits none of the 10 classes" in found.note


def test_what_is_not_here_says_how_to_get_it_and_is_not_fetched(row: Weights, cache: Path, tmp_path: Path) -> None:
    (cache / row.file_name).unlink()
    found = one(images(tmp_path / "val"))
    assert (found.verdict, found.report) == ("absent", None)
    assert found.note == f"put https://example.org/fake.safetensors into {cache}"


def test_another_folder_may_hold_the_weights(row: Weights, cache: Path, tmp_path: Path) -> None:
    (cache / row.file_name).rename(tmp_path / row.file_name)
    data = images(tmp_path / "val")
    assert one(data).verdict == "absent"
    assert one(data, weights=tmp_path).verdict == "passed"


def test_a_damaged_file_fails(row: Weights, cache: Path, tmp_path: Path) -> None:
    (cache / row.file_name).write_bytes(b"nothing")
    found = one(images(tmp_path / "val"))
    assert found.verdict == "failed"
    assert "damaged" in found.note


@pytest.mark.usefixtures("row")
def test_labels_in_a_wrong_order_fail_before_all_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "CHECK_ORDER_AFTER", 100)
    data = images(tmp_path / "val", of_each=12)
    (data / "9").rename(data / "nine")
    for label in reversed(range(9)):
        (data / str(label)).rename(data / str(label + 1))
    (data / "nine").rename(data / "0")
    (work,) = verify(VerifySettings(data, (NAME,)))
    events: list[Progress] = []
    row = follow(work, events.append)
    assert row.verdict == "failed"
    assert "one too high" in row.note
    assert events[-1] == Progress(NAME, 99, 120)


def test_a_bundle_is_held_to_what_was_measured_of_it(cache: Path, tmp_path: Path) -> None:
    assert cache.exists()
    bundle = tiny_bundle()
    measured = (Measured("val", 30, 30, 30, "openvino 1", "f32"),)
    write_bundle(tmp_path / "tiny", replace(bundle, card=replace(bundle.card, measured=measured)))
    settings = VerifySettings(images(tmp_path / "val"), (str(tmp_path / "tiny"),))
    found = verdicts(settings)[bundle.card.name]
    assert (found.verdict, found.target) == ("passed", Target(1.0, 1.0, "measured before, openvino 1 in f32", 30))
    assert found.allowed is not None
    assert found.allowed.rule == "tolerance"


def test_every_model_is_named_when_none_is(cache: Path) -> None:
    assert cache.exists()
    found = verdicts(VerifySettings())
    assert list(found) == [*EMBEDDED, *CATALOGUE]
    assert found["wrn_16_4.cifar10"].note == "no data were given for it; give the labelled images"
    assert {each.verdict for each in found.values()} == {"skipped", "absent"}
    assert not succeeded(list(found.values()))


@pytest.mark.usefixtures("row")
def test_data_that_are_nowhere_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or directory"):
        list(verify(VerifySettings(tmp_path / "nowhere")))


@pytest.mark.usefixtures("cache")
def test_a_name_that_is_no_model_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no model called"):
        list(verify(VerifySettings(None, ("wide_resnet50_2.tv3",))))


@pytest.mark.usefixtures("row")
def test_images_that_cannot_be_read_are_no_success(tmp_path: Path) -> None:
    data = images(tmp_path / "val")
    (data / "3" / "0.png").write_bytes(b"no image")
    found = one(data)
    assert found.verdict == "passed"
    assert not succeeded([found])
    assert succeeded([one(images(tmp_path / "whole"))])


def test_nothing_known_is_nothing_to_hold_it_to() -> None:
    info = replace(describe("wide_resnet50_2.tv_in1k"), published=())
    with pytest.raises(DataError, match="no accuracy of it on val is known"):
        find_target(info, LabelledData("val", [], len(read_labels("imagenet").names)))


def test_two_samples_of_one_size_are_not_the_same_images() -> None:
    """The half of the images that certified a cascade, and half of them by --limit."""
    target = Target(0.9488, 0.998, "the card", 5_000)
    measured = report(4_724, 4_990, 5_000)
    of_10000 = Conditions("", "", "fp32", Preprocess(32, 32), "ignore", "", 10_000, read_labels("cifar10"), 10)
    for whole, rule in ((replace(measured, conditions=of_10000), "interval"), (measured, "tolerance")):
        found = compare_with_target(describe("wide_resnet50_2.tv_in1k"), target, whole, 0.001)
        assert found.allowed is not None
        assert (found.allowed.rule, found.verdict) == (rule, "passed" if rule == "interval" else "failed")
