"""Split conformal prediction: coverage, sizes and selective answers."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from wideresnet.records import SetMethod
from wideresnet.tasks.calibrate import conformal
from wideresnet.tasks.calibrate.conformal import (
    fit_selective,
    fit_sets,
    measure_selective,
    measure_sets,
    notes_on_classes,
    quantiles,
)

Data = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def drawn() -> Callable[..., Data]:
    """A function that draws logits of a network whose probabilities are right, labels, and draws."""
    rng = np.random.default_rng(0)

    def draw(n: int, classes: int = 10, spread: float = 2) -> Data:
        logits = rng.normal(0, spread, (n, classes))
        return logits, (logits + rng.gumbel(size=logits.shape)).argmax(1), rng.random(n)

    return draw


@pytest.mark.parametrize("method", ["lac", "raps"])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_sets_cover_new_images(method: SetMethod, level: float, drawn: Callable[..., Data]) -> None:
    """Over 60 calibrations with 500 images the mean coverage is the level, or slightly more."""
    coverages = []
    for _ in range(60):
        model = fit_sets(method, drawn(300), drawn(500), per_class=False)
        measured = measure_sets(model, level, drawn(1000))
        assert sum(measured.sizes) == 1000
        coverages.append(measured.covered / measured.n)
    assert level - 0.01 < np.mean(coverages) < level + 0.02


def test_sets_cover_each_class_if_asked_for(drawn: Callable[..., Data]) -> None:
    """A class that the network gets wrong is covered only by thresholds of its own."""

    def biased(n: int) -> Data:
        logits, labels, draws = drawn(n, 3)
        logits[:, 0] -= 3
        return logits, labels, draws

    rest, test = biased(3000), biased(3000)
    for per_class, covers in ((False, False), (True, True)):
        model = fit_sets("lac", rest, rest, per_class=per_class)
        of_class = tuple(values[test[1] == 0] for values in test)
        measured = measure_sets(model, 0.9, of_class)
        assert (measured.covered / measured.n > 0.86) == covers


def test_classes_with_few_images_have_no_thresholds(drawn: Callable[..., Data]) -> None:
    logits, labels, draws = drawn(400, 3)
    keep = np.flatnonzero((labels > 0) | (np.cumsum(labels == 0) <= 20))
    rest = logits[keep], labels[keep], draws[keep]
    model = fit_sets("lac", rest, rest, per_class=True)
    assert [scores is None for scores in model.classes] == [True, False, False]


def test_quantiles_keep_the_upper_end_and_few_others() -> None:
    scores = np.random.default_rng(1).random(5000)
    stored = quantiles(scores)
    assert len(stored.ranks) < 350
    assert stored.ranks[-100:] == tuple(range(4901, 5001))
    ordered = np.sort(scores)
    assert stored.threshold(0.99) == pytest.approx(ordered[math.ceil(5001 * 0.99) - 1], abs=2e-6)
    for level in (0.5, 0.8, 0.9):
        covered = (scores <= stored.threshold(level)).mean()
        assert level <= covered <= level + 0.02 * (1 - level) + 1e-3


def test_quantiles_round_up() -> None:
    (value,) = quantiles(np.array([0.1234561])).values
    assert value == 0.123457


def test_classes_without_thresholds_of_their_own_are_counted(drawn: Callable[..., Data]) -> None:
    data = drawn(3000)
    rare = np.flatnonzero(data[1] == 3)[98:]       # all but 98 images of one class
    kept = tuple(np.delete(values, rare, axis=0) for values in data)
    assert notes_on_classes(fit_sets("lac", data, data, per_class=True)) == []
    assert notes_on_classes(fit_sets("lac", kept, kept, per_class=False)) == []
    (note,) = notes_on_classes(fit_sets("lac", kept, kept, per_class=True))
    assert note.startswith("sets cover 9 of 10 classes one by one: of 1 fewer than 99 images set thresholds")


def test_selective_answers_keep_their_promise(drawn: Callable[..., Data]) -> None:
    errors = 0
    for _ in range(40):
        ((error, probability),) = fit_selective(*drawn(1000, spread=12)[:2], errors=[0.05])
        logits, labels, _ = drawn(5000, spread=12)
        measured = measure_selective(error, probability, logits, labels)
        errors += measured.wrong > 0.05 * measured.n
        assert measured.n > 300
    assert errors <= 4


@pytest.mark.parametrize("n", [1, 2, 100, 127, 128, 1024])
def test_all_steps_of_the_search_for_selective_answers_share_one_confidence(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most steps are taken where every answer is right."""
    deltas: list[float] = []

    def bound(_wrong: int, _n: int, delta: float) -> float:
        deltas.append(delta)
        return 0.0

    monkeypatch.setattr(conformal, "error_bound", bound)
    logits = np.stack([np.linspace(1, 5, n), np.zeros(n)], axis=1)
    fit_selective(logits, np.zeros(n, int), errors=[0.05])
    assert sum(deltas) <= conformal.DELTA + 1e-12
    assert sum(deltas) > 0.7 * conformal.DELTA


def test_selective_answers_promise_nothing_with_few_images(drawn: Callable[..., Data]) -> None:
    logits, labels, _ = drawn(50)
    assert fit_selective(logits, labels, errors=[0.001]) == [(0.001, math.inf)]


def test_equal_probabilities_are_answered_together() -> None:
    """All 400 images have the same probability, of which 100 are wrong: no part of them can be answered alone."""
    logits, labels = np.tile([5.0, 0.0], (400, 1)), np.array([0] * 300 + [1] * 100)
    assert fit_selective(logits, labels, errors=[0.05]) == [(0.05, math.inf)]
