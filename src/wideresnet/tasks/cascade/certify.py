"""The choice and the certification of a cascade's rule, on different images.

One half of the images fits the temperatures and orders the rules, from the one that looks safest there to the cheapest.
On the other half they are tested in this order, and the last one before the first failure is certified. A test in
an order that its images did not decide needs no correction for the number of rules: with 97.5 % confidence every rule
up to there loses at most what is allowed (Angelopoulos et al., Learn then Test, arXiv 2110.01052).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, DataError
from wideresnet.records import CascadePoint
from wideresnet.records.comparison import images_to_exclude
from wideresnet.tasks.calibrate.temperature import fit_temperature
from wideresnet.tasks.cascade.rule import Answers, Measurement, candidates

FEWEST = 100                                       # images of each half


@dataclass(frozen=True)
class Certification:
    """The certified rule, or the one that looked safest, measured on the certifying images; ``curve``: all of them.

    ``needed``: see ``CascadeReport``.
    """

    point: CascadePoint
    temperatures: tuple[float, ...]
    curve: tuple[CascadePoint, ...]
    n_choice: int
    needed: int | None


def halves(labels: NDArray[np.int64], seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide images with these classes in two halves at random, each class evenly: the indices of both, ascending.

    Raises DataError for fewer than ``FEWEST`` in each.
    """
    if len(labels) < 2 * FEWEST:
        problem = f"{len(labels):,} images are too few to choose a rule and to certify it"
        raise DataError(problem, hint=f"give {2 * FEWEST:,} or more; a bound of 0.3 points takes a few thousand")
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    return np.sort(order[1::2]), np.sort(order[::2])


def certify(answers: Answers, max_drop: float, most: int = 0, seed: int = 0) -> Certification:
    """Choose the cheapest rule that provably loses at most ``max_drop`` of top-1 (a fraction) against the last member.

    An image costs less than ``most`` multiply-accumulates on average; 0: any number. ``halves`` divides the images.
    Raises DataError for too few of them, ConfigError where every rule costs more.
    """
    choosing, certifying = (answers.take(rows) for rows in halves(answers.labels, seed))
    temperatures = tuple(fit_temperature(logits, choosing.labels) for logits in choosing.logits)
    chosen = Measurement(choosing, temperatures)
    # Rules of one order have the same measure of certainty: their bounds then change little from one to the next.
    orders = [candidates(chosen.rules(measure), most or sum(answers.macs) + 1) for measure in chosen.certainties]
    if not all(orders):
        raise ConfigError(
            "no rule costs less than the last member alone", hint="name the fastest first, the most accurate last"
        )
    ordered = min(orders, key=lambda rules: _cost_and_bound(rules, max_drop))
    start = min(range(len(ordered)), key=lambda index: (ordered[index].bound95, ordered[index].macs))
    measured = Measurement(certifying, temperatures)
    curve = tuple(measured.point(point.rule, point.thresholds) for point in ordered)
    passed = list(takewhile(lambda point: point.bound95 <= max_drop, curve[start:]))
    point = passed[-1] if passed else curve[start]
    needed = None if passed else images_to_certify(point, max_drop)
    return Certification(point, temperatures, curve, len(choosing.labels), needed)


def _cost_and_bound(rules: Sequence[CascadePoint], max_drop: float) -> tuple[float, float]:
    """Return the cost of the cheapest rule within ``max_drop``, infinite without one, and the least bound."""
    costs = [point.macs for point in rules if point.bound95 <= max_drop]
    return min(costs, default=math.inf), min(point.bound95 for point in rules)


def images_to_certify(point: CascadePoint, max_drop: float) -> int | None:
    """Return the images, in both halves, with which the loss measured here would have its bound at ``max_drop``."""
    needed = images_to_exclude(max_drop, point.drop, (point.only_accurate + point.only_cascade) / point.n)
    return None if needed is None else 2 * needed


