"""Accuracy is exact counting, and batches add up to the whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fakes import FakeEngine, tiny_cifar_archive
from wideresnet.classifier import Classifier
from wideresnet.data.cifar import cifar10_test
from wideresnet.data.labelled import LabelledData
from wideresnet.data.labels import read_labels
from wideresnet.errors import DataError
from wideresnet.records import EvalReport, Item, ModelCard, Preprocess
from wideresnet.tasks.evaluate import empty_report, evaluate, evaluate_batches

ENGINE = FakeEngine()
CARD = ModelCard("fake.model", "wrn_10_1", 10, Preprocess(resize=32, crop=32), "fp32", "Apache-2.0")
CLASSIFIER = Classifier(CARD, read_labels("cifar10"), ENGINE)


def data(answers_and_labels: list[tuple[int, int]]) -> LabelledData:
    items = [Item(f"{i}", ENGINE.picture(a), label) for i, (a, label) in enumerate(answers_and_labels)]
    return LabelledData("test set", items, 10)


# The answer to a picture is known, and its neighbours by index follow: |answer - label| <= 2 is top-5 inside.
MIXED = [(0, 0), (5, 5), (5, 6), (5, 3), (5, 9), (9, 9), (2, 8)]


def test_hits_are_counted_exactly() -> None:
    report = evaluate(CLASSIFIER, data(MIXED))
    assert (report.n, report.correct1, report.correct5) == (7, 3, 5)
    assert (report.top1, report.top5) == (3 / 7, 5 / 7)
    assert (report.model, report.data, report.engine) == ("fake.model", "test set", ENGINE.info)
    assert report.failures == ()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_batches_add_up_to_the_whole(batch_size: int) -> None:
    parts = list(evaluate_batches(CLASSIFIER, data(MIXED), batch_size))
    assert len(parts) == math.ceil(7 / batch_size)
    total = sum(parts, empty_report(CLASSIFIER, data(MIXED)))
    assert (total.n, total.correct1, total.correct5) == (7, 3, 5)


def test_reports_add_in_any_grouping() -> None:
    parts = list(evaluate_batches(CLASSIFIER, data(MIXED), 2))

    def counts(report: EvalReport) -> tuple[int, int, int]:
        return report.n, report.correct1, report.correct5

    for a, b, c in itertools.permutations(parts, 3):
        assert counts((a + b) + c) == counts(a + (b + c))


def test_a_picture_that_cannot_be_read_is_a_failure_and_not_counted() -> None:
    good = data(MIXED)
    broken = replace(good, items=[*good.items, Item("broken", b"no picture", 0)])
    report = evaluate(CLASSIFIER, broken, batch_size=3)
    assert (report.n, report.correct1, report.correct5) == (7, 3, 5)
    assert [f.path for f in report.failures] == ["broken"]


def test_only_failures_give_no_accuracy_rather_than_zero() -> None:
    report = evaluate(CLASSIFIER, LabelledData("bad", [Item("a", b"", 0), Item("b", b"x", 1)], 10), batch_size=1)
    assert (report.n, len(report.failures)) == (0, 2)
    assert math.isnan(report.top1)
    assert report.interval95 == (0.0, 1.0)


def test_data_of_other_classes_is_refused() -> None:
    with pytest.raises(DataError, match="test set has 100 classes, the network 10"):
        evaluate(CLASSIFIER, replace(data(MIXED), classes=100))


def test_class_folders_are_evaluated_by_their_names(tmp_path: Path) -> None:
    for label in (3, 7):
        folder = tmp_path / CLASSIFIER.labels.names[label]
        folder.mkdir()
        Image.fromarray(ENGINE.picture(label)).save(folder / "right.png")
        Image.fromarray(ENGINE.picture(0)).save(folder / "wrong.png")
    report = evaluate(CLASSIFIER, tmp_path)
    assert (report.n, report.correct1) == (4, 2)
    assert evaluate(CLASSIFIER, str(tmp_path)).n == 4


def test_the_archive_of_cifar_is_evaluated_picture_by_picture(tmp_path: Path) -> None:
    report = evaluate(CLASSIFIER, cifar10_test(tiny_cifar_archive(tmp_path, rows=20), verify=False))
    assert (report.n, report.correct1, report.correct5) == (20, 20, 20)
    assert report.data == "cifar10 test"
    assert report.seconds > 0
