"""L-BFGS for smooth convex functions of a few ten thousand numbers, in float64 NumPy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Function = Callable[[Vector], tuple[float, Vector]]

MEMORY = 10                                        # pairs of steps and changes of the gradient kept
ENOUGH = 1e-4                                      # Armijo's share of the decrease that the slope promises


def minimise(function: Function, start: Vector, tolerance: float = 1e-5, steps: int = 500) -> Vector:
    """Where ``function`` (value and gradient of a vector) is least, from ``start`` on (Nocedal, 1980).

    Ends when no part of the gradient is larger than ``tolerance``, after ``steps``, or when no step helps any more.
    """
    x = start
    value, gradient = function(x)
    pairs: deque[tuple[Vector, Vector]] = deque(maxlen=MEMORY)
    for _ in range(steps):
        if np.abs(gradient).max() <= tolerance:
            break
        direction = -_times_inverse_hessian(gradient, pairs)
        slope = float(gradient @ direction)
        # Without a memory the gradient says the direction, but not how far to go.
        rate = 1.0 if pairs else min(1.0, 1.0 / math.sqrt(-slope))
        found = _line_search(function, x, direction, (value, slope, rate))
        if found is None:
            break
        step, value, changed = found
        change = changed - gradient
        if step @ change > 1e-12 * (step @ step):  # else rounding is all that it knows of the curvature
            pairs.append((step, change))
        x, gradient = x + step, changed
    return x


def _line_search(
    function: Function, x: Vector, direction: Vector, at: tuple[float, float, float]
) -> tuple[Vector, float, Vector] | None:
    """The first halved step that decreases enough, with the value and gradient there; ``at``: value, slope, rate."""
    value, slope, rate = at
    for _ in range(30):
        step = rate * direction
        new, gradient = function(x + step)
        if new <= value + ENOUGH * rate * slope:
            return step, new, gradient
        rate /= 2
    return None


def _times_inverse_hessian(gradient: Vector, pairs: deque[tuple[Vector, Vector]]) -> Vector:
    """The two loops of L-BFGS: about the inverse of the Hessian, times ``gradient``."""
    q = gradient.copy()
    shares = []
    for step, change in reversed(pairs):
        share = float(step @ q) / float(step @ change)
        shares.append(share)
        q -= share * change
    if pairs:
        step, change = pairs[-1]
        q *= float(step @ change) / float(change @ change)
    for (step, change), share in zip(pairs, reversed(shares), strict=True):
        q += (share - float(change @ q) / float(step @ change)) * step
    return q
