"""The minimiser finds minima that are known."""

from __future__ import annotations

import numpy as np

from wideresnet.tasks.finetune.lbfgs import Vector, minimise


def test_a_quadratic_of_very_unequal_curvatures() -> None:
    curvature, centre = np.logspace(-1, 2, 30), np.linspace(-1, 1, 30)

    def bowl(x: Vector) -> tuple[float, Vector]:
        return float(curvature @ (x - centre) ** 2) / 2, curvature * (x - centre)

    minimum = minimise(bowl, np.zeros(30), tolerance=1e-9)
    np.testing.assert_allclose(minimum, centre, atol=1e-6)


def test_it_begins_at_the_start_and_keeps_to_its_steps() -> None:
    calls = []

    def bowl(x: Vector) -> tuple[float, Vector]:
        calls.append(x)
        return float(x @ x), 2 * x

    start = np.full(3, 5.0)
    assert np.array_equal(minimise(bowl, start, steps=0), start)
    assert np.array_equal(minimise(bowl, np.zeros(3)), np.zeros(3))
    assert len(calls) == 2, "a minimum is seen at once"


def test_a_function_that_no_step_improves_ends_it() -> None:
    def wrong(x: Vector) -> tuple[float, Vector]:
        return float(x @ x), -2 * x                # the gradient points the other way

    start = np.ones(3)
    assert np.array_equal(minimise(wrong, start), start)
