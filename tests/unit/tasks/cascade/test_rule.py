"""Rules of a cascade: which member answers an image, what the rule costs, and thresholds that pass on a fraction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wideresnet.logits import certainty
from wideresnet.records import CascadePoint
from wideresnet.tasks.cascade.rule import ALWAYS, NEVER, Answers, Measurement, candidates, grid_of

ROWS = np.log(np.array([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]], np.float32))


def test_certainties_are_those_of_the_probabilities() -> None:
    assert certainty(ROWS, "margin") == pytest.approx([0.2, 0.85])
    assert certainty(ROWS, "max-softmax") == pytest.approx([0.5, 0.9])
    entropy = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)) / math.log(3)
    assert certainty(ROWS, "entropy")[0] == pytest.approx(1 - entropy)


def test_a_high_temperature_makes_a_network_less_sure() -> None:
    assert certainty(ROWS, "max-softmax", 2.0)[0] == pytest.approx(
        math.sqrt(0.5) / (math.sqrt(0.5) + math.sqrt(0.3) + math.sqrt(0.2)), abs=1e-6
    )


@pytest.mark.parametrize("measure", ["margin", "max-softmax", "entropy"])
def test_the_certainty_of_an_image_does_not_depend_on_its_batch(measure: str) -> None:
    logits = np.random.default_rng(0).normal(size=(65, 10)).astype(np.float32) * 5
    together = certainty(logits, measure, 1.7)  # type: ignore[arg-type]
    mapped = np.asfortranarray(logits)
    assert together.tolist() == certainty(mapped, measure, 1.7).tolist()  # type: ignore[arg-type]
    for size in (1, 2, 7):
        parts = [certainty(logits[i : i + size], measure, 1.7) for i in range(0, 65, size)]  # type: ignore[arg-type]
        assert np.concatenate(parts).tolist() == together.tolist()


def test_an_unsure_member_passes_on_and_a_later_one_is_not_asked_again() -> None:
    rows = [np.log([[p, 1 - p] for p in column]).astype(np.float32) for column in ((0.9, 0.7, 0.6), (0.5, 0.9, 0.6))]
    measurement = Measurement(Answers((*rows, rows[0]), np.zeros(3, np.int64), (1, 1, 1)), (1.0, 1.0, 1.0))
    assert measurement.answering("max-softmax", (0.65, 0.8)).tolist() == [0, 0, 2]
    assert measurement.answering("max-softmax", (0.75, 0.8)).tolist() == [0, 1, 2]
    assert measurement.answering("max-softmax", (NEVER, NEVER)).tolist() == [0, 0, 0]
    assert measurement.answering("max-softmax", (ALWAYS, ALWAYS)).tolist() == [2, 2, 2]


def test_a_point_counts_who_was_asked_what_was_right_and_what_it_cost() -> None:
    right = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]] * 4
    fast = right.copy()
    fast[1] = [2, 1, 0]                            # unsure and wrong
    fast[2] = [5, 0, 0]                            # sure and wrong
    accurate = right.copy()
    accurate[3] = [0, 5, 0]                        # wrong where the fast one is right
    answers = Answers((fast, accurate), np.array([0, 1, 2, 0]), (10, 100))
    point = Measurement(answers, (1.0, 1.0)).point("margin", (0.9,))
    assert (point.reached, point.correct, point.only_accurate, point.only_cascade) == ((4, 1), 3, 1, 1)
    assert point.macs == (3 * 10 + 110) / 4
    assert (point.passed_on, point.top1, point.top1_accurate, point.drop) == (0.25, 0.75, 0.75, 0)


def test_images_pass_through_members_in_between() -> None:
    logits = tuple(np.array([[sure, 0.0], [0.0, 0.0], [0.0, 0.0]], np.float32) for sure in (9.0, 9.0, 9.0))
    logits[1][1] = [9, 0]
    answers = Answers(logits, np.zeros(3, np.int64), (1, 10, 100))
    assert Measurement(answers, (1.0, 1.0, 1.0)).point("margin", (0.5, 0.5)).reached == (3, 2, 1)


def test_thresholds_pass_on_equal_steps_and_lie_between_images() -> None:
    values = np.array([0.1, 0.2, 0.4, 0.8])
    assert grid_of(values, 4) == pytest.approx([NEVER, 0.15, 0.3, 0.6, ALWAYS])
    shares = [(values < threshold).mean() for threshold in grid_of(values, 4)]
    assert shares == [0, 0.25, 0.5, 0.75, 1]


def test_of_each_step_of_cost_the_rule_with_the_least_bound_is_a_candidate() -> None:
    def point(macs: float, lost: int) -> CascadePoint:
        return CascadePoint("margin", (0.5,), (1000, 100), 900, lost, 0, macs)

    rules = [point(10, 3), point(100, 0), point(10, 1), point(55, 2)]
    assert candidates(rules, 101) == [rules[1], rules[3], rules[2]]
    assert candidates(rules, 100) == [rules[3], rules[2]]
