"""Certification of a cascade's rule: on other images than chose it, and wrong no more often than stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, DataError
from wideresnet.records import CascadePoint, paired_bound
from wideresnet.tasks.cascade import rule
from wideresnet.tasks.cascade.certify import FEWEST, certify, halves, images_to_certify
from wideresnet.tasks.cascade.rule import Answers, Measurement


def make_answers(n: int, seed: int, fast: float = 0.85) -> Answers:
    """Return two networks on ``n`` images of ten classes; the accurate one is right on about 95 %.

    The fast one is right on a fraction ``fast``, and less sure where it is wrong.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)

    def network(accuracy: float) -> NDArray[np.float32]:
        right = rng.random(n) < accuracy
        answer = np.where(right, labels, (labels + rng.integers(1, 10, n)) % 10)
        sure = np.where(right, rng.gamma(4, 1, n), rng.gamma(1.5, 1, n))
        return (np.eye(10)[answer] * sure[:, None]).astype(np.float32)

    return Answers((network(fast), network(0.95)), labels, (10, 100))


def test_halves_are_disjoint_even_in_every_class_and_always_the_same() -> None:
    labels = np.repeat([0, 1], [300, 100])
    choosing, certifying = halves(labels)
    assert sorted([*choosing, *certifying]) == list(range(400))
    assert (labels[choosing] == 1).sum() == (labels[certifying] == 1).sum() == 50
    assert halves(labels)[0].tolist() == choosing.tolist()
    assert halves(labels, seed=1)[0].tolist() != choosing.tolist()


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="199 images are too few"):
        certify(make_answers(2 * FEWEST - 1, 0), 0.01)


def test_the_certified_rule_is_measured_on_the_half_that_did_not_choose() -> None:
    answers = make_answers(4000, 0)
    result = certify(answers, 0.02)
    _, certifying = halves(answers.labels)
    again = Measurement(answers.take(certifying), result.temperatures).point(result.point.rule, result.point.thresholds)
    assert again == result.point
    assert (result.point.n, result.n_choice) == (2000, 2000)
    assert result.point.bound95 <= 0.02
    assert 0 < result.point.passed_on < 1


def test_a_larger_allowed_loss_makes_a_cheaper_cascade() -> None:
    answers = make_answers(4000, 1)
    costs = [certify(answers, max_drop).point.macs for max_drop in (0.005, 0.02, 0.2)]
    assert costs[0] > costs[1] > costs[2]
    assert costs[2] < 12                           # the fast network alone loses less than 20 points


def test_where_nothing_passes_the_images_that_could_are_stated() -> None:
    result = certify(make_answers(400, 2), 0.001)
    assert result.point.bound95 > 0.001
    assert result.needed is None or result.needed > 400
    with pytest.raises(ConfigError, match="no rule costs less"):
        certify(make_answers(400, 2), 0.1, most=10)


def test_the_images_to_certify_are_those_of_the_interval() -> None:
    point = CascadePoint("margin", (0.5,), (1000, 100), 900, 20, 12, 10.0)
    needed = images_to_certify(point, 0.015)
    assert needed is not None
    half = needed // 2
    enough, too_few = (paired_bound(0.02 * n, 0.012 * n, n) for n in (half, half - 1))
    assert enough <= 0.015 < too_few
    assert images_to_certify(point, 0.007) is None     # 0.8 points were lost
    assert images_to_certify(replace(point, only_accurate=0, only_cascade=0), 0.002) == 2 * 1917


def test_the_curve_runs_from_most_to_least_work_and_holds_the_point() -> None:
    result = certify(make_answers(1000, 3), 0.05)
    costs = [point.macs for point in result.curve]
    assert costs == sorted(costs, reverse=True)
    assert result.point in result.curve


def test_certified_rules_lose_more_than_stated_at_most_as_often_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "GRID", (30,))
    population = make_answers(8_000, 4)
    rng, wrong, certified = np.random.default_rng(5), 0, 0
    for trial in range(40):
        sample = population.take(rng.choice(8_000, 800, replace=False))
        result = certify(sample, 0.03, seed=trial)
        if result.point.bound95 <= 0.03:
            truth = Measurement(population, result.temperatures).point(result.point.rule, result.point.thresholds)
            wrong, certified = wrong + (truth.drop > 0.03), certified + 1
    assert certified > 35
    assert wrong <= 3                              # 1 expected at most
