"""Paired by path, never by order; counted exactly; decoded once where both models see the same."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import FakeEngine, tiny_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.images import loader
from wideresnet.records import ComparisonReport, EvalReport, Failure, Flip, Item, Labels, Masked, Preprocess, Scored
from wideresnet.tasks.evaluate.comparison import check_same_classes, compare_answers, score_both
from wideresnet.tasks.evaluate.evaluate import score
from wideresnet.tasks.evaluate.model import evaluate

BLANKS = (EvalReport("a.csv", "", None, 0, 0, 0), EvalReport("b.csv", "", None, 0, 0, 0))


def scored(path: str, label: int, answer: int, sure: float = 0.9, masked: int = 0) -> Scored:
    rank = 1 if label == answer else 2
    return Scored(path, label, rank, masked or rank, (answer, label), (sure, 1 - sure))


A = [scored("w", 0, 0), scored("x", 1, 1, 0.6), scored("y", 2, 0, 0.7), scored("z", 3, 4)]
B = [scored("z", 3, 5), scored("y", 2, 2, 0.8), scored("x", 1, 0, 0.95), scored("w", 0, 0)]


def compared(a: Sequence[Scored | Failure], b: Sequence[Scored | Failure]) -> ComparisonReport:
    return compare_answers(a, b, BLANKS)


def test_answers_are_paired_by_path_and_not_by_order() -> None:
    report = compared(A, B)
    assert (report.n, report.agreements, report.only_a_correct, report.only_b_correct) == (4, 1, 1, 1)
    assert (report.a.model, report.a.correct1, report.b.model, report.b.correct1) == ("a.csv", 2, "b.csv", 2)
    assert report.flips == (
        Flip("x", 1, "A", (1, 0), (0.6, 0.95)),        # B was surer of its mistake than A of its own
        Flip("y", 2, "B", (0, 2), (0.7, 0.8)),
    )
    assert compared(list(reversed(A)), B) == report


def test_images_of_one_side_only_are_listed_and_not_counted() -> None:
    report = compared([*A, scored("only", 1, 0), Failure("torn", "bad"), Failure("half", "bad")],
                      [*B[:-1], Failure("w", "bad"), Failure("torn", "bad"), scored("half", 1, 1)])  # fmt: skip
    assert (report.n, report.only_a, report.only_b) == (3, ("only",), ())
    assert [each.path for each in report.a.failures] == ["half", "torn"]
    assert [each.path for each in report.b.failures] == ["torn", "w"]
    assert report.a.correct1 == 1


def test_a_path_that_comes_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"b\.csv holds two answers to z"):
        compared(A, [*B, scored("z", 3, 3)])


def test_labels_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="y is of class 2 in one and 7 in the other"):
        compared(A, [scored("y", 7, 7)])


@pytest.mark.parametrize("other", [[], [scored("/data/w", 0, 0)], [Failure("w", "bad")]])
def test_no_common_image_is_refused(other: list[Scored | Failure]) -> None:
    with pytest.raises(DataError, match=r"no image is answered in both a\.csv and b\.csv"):
        compared(A, other)


def test_masked_accuracy_is_known_where_both_know_it_of_the_same_classes() -> None:
    ours, theirs = ([scored("x", 1, 5, masked=1), scored("y", 2, 2)], [scored("x", 1, 1), scored("y", 2, 2)])
    report = compared(ours, theirs)
    assert (report.a.masked, report.b.masked) == (Masked(2, 2, 2), Masked(2, 2, 2))
    assert compared(theirs, theirs).a.masked is None, "all classes, as far as one can tell"
    assert compared(ours, [*theirs, scored("z", 3, 3)]).a.masked is None, "masked to other classes"
    unknown = [replace(each, masked_rank=0) for each in theirs]
    assert compared(ours, unknown).b.masked is None


def test_answers_without_probabilities_or_classes_are_compared_all_the_same() -> None:
    bare = [replace(each, top=(), probabilities=()) for each in A]
    report = compared(bare, B)
    assert (report.n, report.only_a_correct, report.only_b_correct, report.agreements) == (4, 1, 1, 1)
    assert report.flips[0].answers == (1, 0)
    assert report.flips[1].answers == (-1, 2)
    assert math.isnan(report.flips[1].mistake)


# Two models


class Shifted(FakeEngine):
    """Names the next class for dark images."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = super().__call__(batch)
        return np.where(batch.mean(axis=(1, 2, 3))[:, None] < 128, np.roll(logits, 1, axis=1), logits)


def classifier(engine: FakeEngine, spec: Preprocess | None = None) -> Classifier:
    card = tiny_bundle().card
    return Classifier(replace(card, preprocess=spec or card.preprocess), tiny_bundle().labels, engine)


ITEMS = [Item(f"{k}", FakeEngine().image(k), k) for k in range(10)]
DATA = LabelledData("greys", [*ITEMS[:3], Item("torn", b"no image", 0), *ITEMS[3:]], 10)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of items that were decoded, in order."""
    paths: list[str] = []
    read = loader._crops_or_failure

    def watched(item: Item, **options: object) -> loader.Outcome:
        paths.append(item.path)
        return read(item, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "_crops_or_failure", watched)
    return paths


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_one_pass_gives_both_models_the_scores_of_their_own_evaluation(batch_size: int, decoded: list[str]) -> None:
    a, b = classifier(FakeEngine()), classifier(Shifted())
    pairs = list(score_both(a, b, DATA, batch_size))
    assert sorted(decoded) == sorted(item.path for item in DATA.items), "each once"
    for place, model in enumerate((a, b)):
        alone = [each if isinstance(each, Failure) else replace(each, seconds=0.0) for each in score(model, DATA)]
        assert [pair[place] for pair in pairs] == alone
    report = compare_answers([one for one, _ in pairs], [other for _, other in pairs], BLANKS)
    assert (report.n, report.only_a_correct, report.only_b_correct, report.agreement) == (10, 5, 0, 0.5)
    assert report.a.correct5 == evaluate(a, DATA).correct5


def test_mean_and_deviation_are_no_other_way_to_see_a_image(decoded: list[str]) -> None:
    same = replace(tiny_bundle().card.preprocess, mean=(0.1, 0.2, 0.3))
    list(score_both(classifier(FakeEngine()), classifier(Shifted(), same), DATA))
    assert len(decoded) == len(DATA.items)


def test_models_that_see_images_differently_get_them_each_their_way(decoded: list[str]) -> None:
    smaller = Preprocess(resize=16, crop=16)
    pairs = list(score_both(classifier(FakeEngine()), classifier(Shifted(side=16), smaller), DATA, 4))
    assert len(decoded) == 2 * len(DATA.items)
    assert [one.path for one, _ in pairs] == [other.path for _, other in pairs] == [item.path for item in DATA.items]


def with_labels(labels: Labels) -> Classifier:
    return replace(classifier(FakeEngine()), labels=labels)


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        (Labels(("a", "b")), Labels(("a", "b", "c")), "2 classes, wrn_10_1.tiny 3"),
        (Labels(("a", "b")), Labels(("b", "a")), "another order"),
        (Labels(("a", "b"), ("n1", "n2")), Labels(("a", "b"), ("n2", "n1")), "another order"),
    ],
)
def test_models_of_other_classes_are_refused(one: Labels, other: Labels, match: str) -> None:
    with pytest.raises(DataError, match=match):
        check_same_classes(with_labels(one), with_labels(other))


def test_other_words_for_the_same_classes_are_no_other_classes() -> None:
    check_same_classes(with_labels(Labels(("a", "b"), ("n1", "n2"))), with_labels(Labels(("A", "B"), ("n1", "n2"))))
    check_same_classes(with_labels(Labels(("cat", "dog"))), with_labels(Labels(("class 0", "class 1"))))


def test_accents_composed_and_decomposed_are_one_path() -> None:
    """As macOS and Linux write them; paths come out as they were. Two files that differ so stay two."""
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    report = compared([scored(composed, 0, 0), scored(f"x{composed}", 0, 0)], [scored(decomposed, 0, 1)])
    assert (report.n, report.flips[0].path, report.only_a) == (1, composed, (f"x{composed}",))
    both = [scored(composed, 0, 0), scored(decomposed, 1, 1)]
    assert compared(both, both[::-1]).n == 2
    assert compared(both, [scored(decomposed, 1, 0)]).only_a == (composed,)


def test_labels_in_another_order_are_warned_of_on_both_sides() -> None:
    """Files say no names, and need none for that."""
    answers = [scored(f"{k}.png", (k + 1) % 10, k % 10) for k in range(200)]
    report = compared(answers, answers)
    assert "one too high" in report.a.order
    assert report.warnings == (report.a.order, report.b.order)
