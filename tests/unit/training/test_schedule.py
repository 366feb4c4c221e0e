"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest

from wideresnet.training.recipe import Recipe
from wideresnet.training.schedule import learning_rate

ONE_CYCLE = Recipe(architecture="wrn_10_1", epochs=10, learning_rate=0.4, schedule="one-cycle", warmup=0.2)
STEPS = Recipe(architecture="wrn_10_1", epochs=20, learning_rate=0.1, schedule="steps", milestones=(6, 12), decay=0.2)


def test_one_cycle_begins_and_ends_near_zero_but_never_at_it() -> None:
    rates = [learning_rate(ONE_CYCLE, step, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.4 * 0.5 / 20)
    assert rates[-1] == pytest.approx(0.4 * 0.5 / 80)


def test_one_cycle_rises_for_the_warmup_and_falls_after_it() -> None:
    rates = [learning_rate(ONE_CYCLE, step, 10) for step in range(100)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0.39 < max(rates) <= 0.4


def test_one_cycle_without_warmup_only_falls() -> None:
    recipe = ONE_CYCLE.model_copy(update={"warmup": 0.0})
    rates = [learning_rate(recipe, step, 10) for step in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(0.4, rel=0.01)


def test_a_cosine_rises_linearly_and_falls_along_half_a_cosine() -> None:
    recipe = ONE_CYCLE.model_copy(update={"schedule": "cosine"})
    rates = [learning_rate(recipe, step, 10) for step in range(100)]
    assert rates[:20] == [learning_rate(ONE_CYCLE, step, 10) for step in range(20)]
    expected = [0.2 * (1 + math.cos(math.pi * (step + 0.5 - 20) / 80)) for step in range(20, 100)]
    assert rates[20:] == pytest.approx(expected)
    assert learning_rate(recipe.model_copy(update={"warmup": 0.0}), 0, 10) == pytest.approx(0.4, rel=1e-3)


def test_steps_multiply_by_decay_from_each_milestone_on() -> None:
    rates = [learning_rate(STEPS, 7 * epoch + within, 7) for epoch in range(20) for within in range(7)]
    expected = [0.1] * 42 + [0.1 * 0.2] * 42 + [0.1 * 0.2**2] * 56
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_rate_stays_at_that_of_swa_once_it_has_fallen_to_it(schedule: str) -> None:
    recipe = ONE_CYCLE.model_copy(update={"schedule": schedule, "swa": 4, "swa_rate": 0.25})
    before = ONE_CYCLE.model_copy(update={"schedule": schedule})
    for step in range(100):
        usual = learning_rate(before, step, 10)
        expected = usual if step < 20 else max(usual, 0.1)
        assert learning_rate(recipe, step, 10) == pytest.approx(expected)


def test_the_rate_of_swa_limits_the_drops_of_milestones() -> None:
    recipe = STEPS.model_copy(update={"swa": 2, "swa_rate": 0.1})
    assert [learning_rate(recipe, epoch, 1) for epoch in (0, 6, 12)] == pytest.approx([0.1, 0.02, 0.01])
