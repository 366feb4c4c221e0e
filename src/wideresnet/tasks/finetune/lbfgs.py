"""L-BFGS for smooth convex functions of some ten thousand variables, in float64 NumPy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Function = Callable[[Vector], tuple[float, Vector]]

MEMORY = 10                                        # pairs of steps and gradient changes
ARMIJO = 1e-4                                      # required fraction of the decrease that the slope predicts
MAX_HALVINGS = 30


def minimise(function: Function, start: Vector, tolerance: float = 1e-5, steps: int = 500) -> Vector:
    """Minimise ``function`` (value and gradient of a vector) from ``start`` on (Nocedal, 1980).

    Ends when no component of the gradient exceeds ``tolerance``, after ``steps``, or when no step decreases the value.
    """
    x = start
    value, gradient = function(x)
    pairs: deque[tuple[Vector, Vector]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_times_inverse_hessian(gradient, pairs)
        slope = float(gradient @ direction)
        # Without pairs the gradient gives the direction, but not the length of the step.
        rate = 1.0 if pairs else min(1.0, 1.0 / math.sqrt(-slope))
        for _ in range(MAX_HALVINGS):
            step = rate * direction
            new_value, new_gradient = function(x + step)
            if new_value <= value + ARMIJO * rate * slope:
                break
            rate /= 2
        else:
            break
        change = new_gradient - gradient
        if step @ change > 1e-12 * (step @ step):  # else the curvature is only rounding
            pairs.append((step, change))
        x, value, gradient = x + step, new_value, new_gradient
    return x


def _times_inverse_hessian(gradient: Vector, pairs: deque[tuple[Vector, Vector]]) -> Vector:
    """Return the approximate inverse Hessian times ``gradient``, by L-BFGS's two loops."""
    q = gradient.copy()
    alphas = []
    for step, change in reversed(pairs):
        alpha = float(step @ q) / float(step @ change)
        alphas.append(alpha)
        q -= alpha * change
    if pairs:
        step, change = pairs[-1]
        q *= float(step @ change) / float(change @ change)
    for (step, change), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - float(change @ q) / float(step @ change)) * step
    return q
