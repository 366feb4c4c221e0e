"""Accuracy is exact counting, and batches add up to the whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import FakeEngine, tiny_cifar_archive
from wideresnet.classifier import Classifier
from wideresnet.datasets.cifar import CIFAR10, cifar_test
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import DataError, EngineError
from wideresnet.records import EvalReport, Item, Masked, ModelCard, Preprocess, Scored
from wideresnet.tasks.evaluate.evaluate import ranks, score, score_logits
from wideresnet.tasks.evaluate.model import evaluate

ENGINE = FakeEngine()
CARD = ModelCard("fake.model", "wrn_10_1", 10, Preprocess(resize=32, crop=32), "fp32", "Apache-2.0")
CLASSIFIER = Classifier(CARD, read_labels("cifar10"), ENGINE)


def data(answers_and_labels: list[tuple[int, int]]) -> LabelledData:
    items = [Item(f"{i}", ENGINE.image(a), label) for i, (a, label) in enumerate(answers_and_labels)]
    return LabelledData("test set", items, 10)


# The answer to an image is known, and its neighbours by index follow: |answer - label| <= 2 is top-5 inside.
MIXED = [(0, 0), (5, 5), (5, 6), (5, 3), (5, 9), (9, 9), (2, 8)]


def test_hits_are_counted_exactly() -> None:
    report = evaluate(CLASSIFIER, data(MIXED))
    assert (report.n, report.correct1, report.correct5) == (7, 3, 5)
    assert (report.top1, report.top5) == (3 / 7, 5 / 7)
    assert (report.model, report.data, report.engine) == ("fake.model", "test set", ENGINE.info)
    assert report.failures == ()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_counts_do_not_depend_on_the_batch(batch_size: int) -> None:
    assert counts(evaluate(CLASSIFIER, data(MIXED), batch_size)) == counts(evaluate(CLASSIFIER, data(MIXED)))


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_shards_add_up_to_the_whole_in_any_order(shards: int) -> None:
    whole = replace(data(MIXED), items=[*data(MIXED).items, Item("broken", b"no image", 0)])
    parts = [evaluate(CLASSIFIER, whole.take_part(f"{i}/{shards}")) for i in range(1, shards + 1)]
    once = counts(evaluate(CLASSIFIER, whole))
    for order in itertools.islice(itertools.permutations(parts), 6):
        assert counts(sum(order[1:], order[0])) == once


@pytest.mark.parametrize("first", range(8))
def test_whoever_goes_on_gets_the_scores_that_are_missing(first: int) -> None:
    everything = [replace(each, seconds=0.0) for each in scores(3)]
    assert [replace(each, seconds=0.0) for each in scores(3, first)] == everything[first:]


def test_going_on_shows_images_in_the_batches_they_would_have_been_in() -> None:
    ENGINE.calls.clear()
    list(score(CLASSIFIER, data(MIXED), 3, first=5))
    assert ENGINE.calls == [3, 1]


def test_a_subset_of_classes_is_also_scored_among_its_own() -> None:
    # 5 is answered where 6 is right; of the classes 2, 6 and 9 the nearest to 5 is 6.
    report = evaluate(CLASSIFIER, data([(5, 6), (2, 2), (9, 9), (4, 9)]))
    assert report.masked == Masked(classes=3, correct1=3, correct5=4)
    assert report.correct1 == 2


def test_all_classes_need_no_mask() -> None:
    assert evaluate(CLASSIFIER, data([(label, label) for label in range(10)])).masked is None


def test_ties_rank_the_lower_index_first() -> None:
    values = np.array([[1, 3, 3, 0], [2, 2, 2, 2]], np.float32)
    assert ranks(values, np.array([2, 3])).tolist() == [2, 4]


def test_answers_that_are_no_numbers_end_the_evaluation() -> None:
    with pytest.raises(EngineError, match="not finite for 1 of 1"):
        score_logits(data([(0, 0)]).items, np.full((1, 10), np.nan, np.float32), [0])


def scores(batch_size: int, first: int = 0) -> list[Scored]:
    found = list(score(CLASSIFIER, data(MIXED), batch_size, first))
    assert all(isinstance(each, Scored) for each in found)
    return [each for each in found if isinstance(each, Scored)]


def counts(report: EvalReport) -> EvalReport:
    """What must not depend on how the work is divided: everything but time and the names of the parts."""
    assert report.conditions is not None
    conditions = replace(report.conditions, shards=(), machine={})
    return replace(report, seconds=0.0, conditions=conditions)


def test_a_image_that_cannot_be_read_is_a_failure_and_not_counted() -> None:
    good = data(MIXED)
    broken = replace(good, items=[*good.items, Item("broken", b"no image", 0)])
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
        Image.fromarray(ENGINE.image(label)).save(folder / "right.png")
        Image.fromarray(ENGINE.image(0)).save(folder / "wrong.png")
    report = evaluate(CLASSIFIER, tmp_path)
    assert (report.n, report.correct1) == (4, 2)
    assert evaluate(CLASSIFIER, str(tmp_path)).n == 4


def test_the_archive_of_cifar_is_evaluated_image_by_image(tmp_path: Path) -> None:
    report = evaluate(CLASSIFIER, cifar_test(tiny_cifar_archive(tmp_path, rows=20), CIFAR10, verify=False))
    assert (report.n, report.correct1, report.correct5) == (20, 20, 20)
    assert report.data == "cifar10 test"
    assert report.seconds > 0
