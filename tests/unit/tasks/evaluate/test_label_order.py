"""Labels in another order than the network's classes are named; nothing else is taken for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import FakeEngine, tiny_bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import DataError
from wideresnet.records import BILLION, BINS, Bin, ClassCounts, Confusion, EvalReport, Item, Labels, most_frequent
from wideresnet.tasks.evaluate.label_order import (
    DEVKIT,
    DOUBT,
    Order,
    check_label_order,
    images_needed,
    known_orders,
    with_order_warning,
    wrong_order,
)
from wideresnet.tasks.evaluate.model import evaluate

Classes = NDArray[np.int64]
IMAGENET = read_labels("imagenet")


def plain(count: int) -> Labels:
    """Names whose alphabetical order is not theirs."""
    return Labels(tuple(f"class {place * 7919 % count:04d}" for place in range(count)))


LABELS = {10: plain(10), 20: plain(20), 100: plain(100), 1000: IMAGENET}


def test_a_network_at_chance_level_is_said_to_be() -> None:
    """From 30 images on; a better network, and fewer images, are not."""
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 10, (2, 400))
    report = with_order_warning(counted(labels, guesses, confidence=0.15), LABELS[10])
    right = f"{100 * report.top1:.2f} % of 400 images"
    assert report.warnings == (f"net is at chance level: right for {right}, guesses among 10 classes for 10 %",)
    better, few = np.where(rng.random(400) < 0.2, labels, guesses), slice(29)
    for other in (counted(labels, better, 0.3), counted(labels[few], guesses[few], 0.1)):
        assert with_order_warning(other, LABELS[10]).warnings == ()


def counted(labels: Classes, answers: Classes, confidence: float = 0.8) -> EvalReport:
    """The counts of so many labels and answers."""
    right = labels == answers
    hits = np.bincount(labels[right], minlength=int(labels.max()) + 1)
    by_class = {
        label: ClassCounts(n, int(hits[label]), 0) for label, n in enumerate(np.bincount(labels).tolist()) if n
    }
    pairs = Counter(zip(labels[~right].tolist(), answers[~right].tolist(), strict=True))
    confusions = most_frequent(Confusion(label, answer, n) for (label, answer), n in pairs.items())
    correct = int(right.sum())
    bins = [Bin()] * BINS
    bins[min(int(confidence * BINS), BINS - 1)] = Bin(len(labels), correct, round(confidence * BILLION) * len(labels))
    return EvalReport(
        "net", "set", None, len(labels), correct, correct, by_class=by_class, confusions=confusions, bins=tuple(bins)
    )


def network(rng: np.random.Generator, true: Classes, classes: int, accuracy: float) -> Classes:
    """Answers of a network that errs towards the next classes more often than anywhere else."""
    near = (true + rng.integers(1, 4, len(true))) % classes
    far = rng.integers(0, classes, len(true))
    wrong = np.where(rng.random(len(true)) < 0.6, near, far)
    return np.where(rng.random(len(true)) < accuracy, true, wrong)


def evenly(classes: int, n: int) -> Classes:
    return np.arange(n) % classes


def mislabelled(true: Classes, order: Order, classes: int) -> Classes:
    """Labels that ``order`` explains; what it leaves open is filled up."""
    label_of = {answer: label for label, answer in order.answers.items()}
    spare = [label for label in range(classes) if label not in order.answers][::-1]
    label_of |= dict(zip([each for each in range(classes) if each not in label_of], spare, strict=True))
    return np.array([label_of[answer] for answer in true.tolist()])


@pytest.mark.parametrize("accuracy", [0.5, 0.8, 0.95])
@pytest.mark.parametrize(("classes", "n"), [(10, 200), (10, 10_000), (100, 400), (1000, 1000), (1000, 5000)])
def test_known_orders_are_named(classes: int, n: int, accuracy: float) -> None:
    labels = LABELS[classes]
    for seed, order in enumerate(known_orders(labels)):
        rng = np.random.default_rng(seed)
        true = evenly(classes, n)
        found = wrong_order(counted(mislabelled(true, order, classes), network(rng, true, classes, accuracy)), labels)
        assert found is not None, order.cause
        # With few classes two orders may be one and the same.
        same = {each.cause for each in known_orders(labels) if each.answers == order.answers}
        assert found.cause in same
        assert found.explained == pytest.approx(accuracy, abs=0.4 if len(order.answers) < classes else 0.15)


# From a few images of each class on, fewer the better the network is.
@pytest.mark.parametrize(
    ("classes", "n", "accuracy"),
    [(10, 1000, 0.5), (10, 300, 0.7), (10, 200, 0.95), (100, 1000, 0.5), (100, 300, 0.8),
     (1000, 10_000, 0.5), (1000, 2000, 0.75), (1000, 5000, 0.95)],
)  # fmt: skip
def test_any_other_order_is_noticed(classes: int, n: int, accuracy: float) -> None:
    true = evenly(classes, n)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        circle, order = rng.permutation(classes), np.empty(classes, np.int64)
        order[circle] = np.roll(circle, 1)         # no class keeps its place
        report = counted(order[true], network(rng, true, classes, accuracy))
        assert wrong_order(report, LABELS[classes]) is not None, seed


def test_the_order_of_the_development_kit_shows_after_a_thousand_images() -> None:
    order = next(each for each in known_orders(IMAGENET) if "development kit" in each.cause)
    rng = np.random.default_rng(0)
    true = rng.integers(0, 1000, 1000)             # the validation set lies in no order
    found = wrong_order(counted(mislabelled(true, order, 1000), network(rng, true, 1000, 0.78)), IMAGENET)
    assert found is not None
    assert "ILSVRC2012" in found.cause
    assert "wrn data imagenet" in found.hint


def test_the_known_places_of_the_development_kit_are_classes_of_imagenet() -> None:
    assert set(DEVKIT.values()) <= set(IMAGENET.ids)
    assert len(set(DEVKIT.values())) == len(DEVKIT)


def test_classes_in_the_order_of_folders_show_after_the_first_of_them() -> None:
    true = np.repeat(np.arange(20), 50)            # the first thousand images of ImageNet in class folders
    report = counted(true + 1, network(np.random.default_rng(0), true, 1000, 0.78))
    found = wrong_order(report, IMAGENET)
    assert found is not None
    assert "one too high" in found.cause


def test_numbers_of_a_subset_are_not_those_of_the_network() -> None:
    imagenette = np.array([0, 217, 482, 491, 497, 566, 569, 571, 574, 701])
    label = evenly(10, 500)
    found = wrong_order(counted(label, network(np.random.default_rng(0), imagenette[label], 1000, 0.9)), IMAGENET)
    assert found is not None
    assert "count the classes of the data" in found.cause
    assert "'goldfish' is answered 'English springer'" in found.cause


Answering = Callable[[np.random.Generator, Classes, int], Classes]


def random_answers(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    return rng.integers(0, classes, len(true))


def few_answers(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    return rng.choice(rng.integers(0, classes, int(rng.integers(1, 7))), len(true))


def alike_in_groups(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    """Every class has its answer, which it shares with others: a network that collapsed."""
    groups = int(rng.integers(1, max(2, len(np.unique(true)) // 3)))
    answers = rng.choice(rng.choice(classes, groups, replace=False), classes)
    return np.where(rng.random(len(true)) < 0.8, answers[true], rng.integers(0, classes, len(true)))


def weak(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    return network(rng, true, classes, rng.uniform(0.02, 0.3))


def good(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    return network(rng, true, classes, rng.uniform(0.3, 1))


def similar_pairs(rng: np.random.Generator, true: Classes, _: int) -> Classes:
    return np.where(rng.random(len(true)) < 0.5, true, true ^ 1)


def by_neighbours(rng: np.random.Generator, true: Classes, classes: int) -> Classes:
    return (true + rng.integers(-3, 4, len(true))) % classes


@pytest.mark.parametrize(
    "answering", [random_answers, few_answers, alike_in_groups, weak, good, similar_pairs, by_neighbours]
)
@pytest.mark.parametrize("confidence", [0.5, 0.99])
def test_a_network_that_is_only_bad_is_left_alone(answering: Answering, confidence: float) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        classes, n = int(rng.choice([10, 20, 100, 1000])), int(rng.choice([20, 48, 100, 1000, 3000]))
        true = rng.integers(0, classes, n)
        if seed % 3 == 0:                          # some classes only
            true = rng.integers(0, int(rng.integers(1, 30)), n) % classes
        assert wrong_order(counted(true, answering(rng, true, classes), confidence), LABELS[classes]) is None, seed


def test_one_image_a_class_is_no_order_of_its_own() -> None:
    """Each class then has one answer without fail."""
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(1000)
        assert wrong_order(counted(order, np.arange(1000)), IMAGENET) is None


def warned(labels: Classes, answers: Classes, names: Labels, confidence: float = 0.8) -> str:
    report = with_order_warning(counted(labels, answers, confidence), names)
    assert report.warnings == ((report.order,) if report.order else ())
    return report.order


@pytest.mark.parametrize("accuracy", [0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_known_orders_are_found_from_the_number_of_images_on_that_is_named(classes: int, accuracy: float) -> None:
    """For nine of ten samples at least."""
    n, found = images_needed(accuracy, classes), 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        true = rng.integers(0, classes, n)
        report = counted((true + 1) % classes, network(rng, true, classes, accuracy))
        found += wrong_order(report, LABELS[classes]) is not None
    assert found >= 45


def test_48_images_of_ten_classes_in_a_known_order_are_refused() -> None:
    """They gave 10.4 instead of 60.4 % without a word."""
    true = evenly(10, 48)
    answers = np.where(np.arange(48) < 29, true, (true + 1 + np.arange(48) % 7) % 10)
    report = counted((true + 1) % 10, answers)
    with pytest.raises(DataError, match="one too high"):
        check_label_order(report, LABELS[10])


def shuffling(rng: np.random.Generator, classes: int) -> Classes:
    """An order that leaves no class in its place."""
    circle, order = rng.permutation(classes), np.empty(classes, np.int64)
    order[circle] = np.roll(circle, 1)
    return order


@pytest.mark.parametrize(("accuracy", "each"), [(0.5, 30), (0.6, 18), (0.75, 12), (0.9, 6)])
def test_any_other_order_is_found_from_as_many_images_of_each_class_as_docs_evaluate_md_says(
    accuracy: float, each: int
) -> None:
    found, true = 0, evenly(10, 10 * each)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        report = counted(shuffling(rng, 10)[true], network(rng, true, 10, accuracy))
        found += wrong_order(report, LABELS[10]) is not None
    assert found >= 42


def test_48_images_in_any_other_order_are_warned_of_with_what_it_takes_to_be_sure() -> None:
    said = 0
    for seed in range(20):
        rng, true = np.random.default_rng(seed), evenly(10, 48)
        report = counted(shuffling(rng, 10)[true], network(rng, true, 10, 0.65))
        said += bool(with_order_warning(report, LABELS[10]).order)
        check_label_order(report, LABELS[10])     # which is no proof yet
    assert said >= 18


@pytest.mark.parametrize(("classes", "n", "says"), [(4, 40, "one too high"), (2, 20, "in reverse"), (3, 30, "order")])
def test_few_classes_are_a_warning_and_no_error(classes: int, n: int, says: str) -> None:
    """Also two that are exchanged, the commonest of all."""
    labels = evenly(classes, n)
    names = Labels(tuple("abcd"[:classes]))
    report = counted(classes - 1 - labels if classes == 2 else (labels + 1) % classes, labels)
    check_label_order(report, names)
    words = with_order_warning(report, names).order
    assert words.startswith("the labels of set may be in another order than the classes of net")
    assert says in words or "another order explains 100.0 %" in words
    assert f"0.00 % of {n} images although it is 80 % sure" in words
    assert "to be sure takes about" in words


def test_a_image_of_each_class_is_too_few_to_tell_and_that_is_said() -> None:
    order = shuffling(np.random.default_rng(0), 10)
    words = warned(order, np.arange(10), LABELS[10], confidence=0.95)
    assert "may be in another order" in words
    assert "6 to 30 images of each of 10 classes or more" in words
    assert "another order explains" not in words


def test_what_is_proved_is_a_warning_where_nothing_is_refused() -> None:
    true = evenly(10, 200)
    words = warned((true + 1) % 10, true, LABELS[10])
    assert words.startswith("the labels of set are in another order")
    assert words.endswith("subtract 1 from every label")
    assert "one too high" in warned((true + 1) % 10, true, Labels(())), "names are not needed for it"


@pytest.mark.parametrize("n", [1, 2, 5, 10, 48, 300])
def test_right_and_merely_weak_answers_are_not_warned_of(n: int) -> None:
    false = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        true = rng.integers(0, 10, n)
        assert warned(true, network(rng, true, 10, 0.9), LABELS[10], 0.9) == ""
        false += "order" in warned(true, rng.integers(0, 10, n), LABELS[10], 0.25)
    assert false <= 2


@pytest.mark.parametrize("answering", [random_answers, few_answers, alike_in_groups, weak, similar_pairs])
def test_a_bad_network_is_seldom_taken_for_another_order(answering: Answering) -> None:
    """Of those that are sure and wrong, which is the case to be warned of."""
    false = 0
    for seed in range(100):
        rng, n = np.random.default_rng(seed), 48
        true = rng.integers(0, 10, n)
        false += wrong_order(counted(true, answering(rng, true, 10) % 10, 0.99), LABELS[10], DOUBT) is not None
    assert false <= 3


def test_nothing_is_said_of_no_image() -> None:
    report = EvalReport("net", "set", None, 0, 0, 0)
    assert with_order_warning(report, LABELS[10]) == report
    assert wrong_order(report, LABELS[10]) is None
    unknown = replace(report, n=9, by_class={0: ClassCounts(9, 0, 0)})       # answers that a file does not tell
    assert with_order_warning(unknown, Labels(())).order == ""


def test_a_sum_of_reports_is_asked_again() -> None:
    report = replace(counted(evenly(10, 20), evenly(10, 20)), order="may be", notes=("read as cp1252",))
    assert (report + report).warnings == ("read as cp1252",)


def test_a_network_that_is_not_sure_is_left_alone() -> None:
    true = evenly(10, 1000)
    assert wrong_order(counted((true + 1) % 10, true, confidence=0.15), LABELS[10]) is None


def test_answers_without_probabilities_are_judged_by_their_structure() -> None:
    true = evenly(10, 1000)
    assert wrong_order(replace(counted((true + 1) % 10, true), bins=()), LABELS[10]) is not None


def test_a_list_that_is_sorted_cannot_be_out_of_alphabetical_order() -> None:
    assert any("alphabetical" in order.cause for order in known_orders(Labels(("bee", "ant", "cat"))))
    assert not any("alphabetical" in order.cause for order in known_orders(Labels(("ant", "bee", "cat"))))


def test_a_few_images_in_the_wrong_class_are_no_order() -> None:
    labels = evenly(10, 1000)
    swapped = np.where(labels < 2, 1 - labels, labels)
    assert wrong_order(counted(swapped, labels), LABELS[10]) is None


# From images to the error and the warning


def test_evaluate_puts_the_warning_into_its_report() -> None:
    report = shuffled((np.arange(10) + 1) % 10)
    assert "in another order" in report.warnings[0]


def shuffled(order: Classes, n: int = 200) -> EvalReport:
    """The embedded network's data, labelled in another order, as an engine sees them that is always right."""
    engine, bundle = FakeEngine(), tiny_bundle()
    items = [Item(f"{place}.png", engine.image(place % 10), int(order[place % 10])) for place in range(n)]
    return evaluate(Classifier(bundle.card, bundle.labels, engine), LabelledData("cifar10 test", items, 10))


def test_shuffled_labels_end_in_an_error_that_says_what_was_seen() -> None:
    order = np.array([3, 0, 6, 1, 9, 2, 4, 8, 7, 5])
    with pytest.raises(DataError, match="some other order of the classes") as caught:
        check_label_order(shuffled(order), read_labels("cifar10"))
    assert "right for 0.00 % of 200 images although it is 51 % sure" in caught.value.message
    assert "another order explains 100.0 % of 200" in caught.value.message
    assert "'automobile' is answered 'cat'" in caught.value.message
    assert caught.value.hint


def test_a_known_order_ends_in_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match="one too high") as caught:
        check_label_order(shuffled((np.arange(10) + 1) % 10), read_labels("cifar10"))
    assert caught.value.hint == "subtract 1 from every label"


def test_right_labels_pass() -> None:
    check_label_order(shuffled(np.arange(10)), read_labels("cifar10"))
