"""Rules of a cascade: which member answers an image, and what that costs and loses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import certainty
from wideresnet.records import CascadePoint, CertaintyMeasure

# Thresholds tried for each member but the last, by the number of such members: some thousands of rules at most.
GRID = (200, 40, 12, 6)
STEPS = 100                                        # of cost: the best rule of each step is a candidate
Logits = NDArray[np.float32]                       # [N, C]
NEVER, ALWAYS = 0.0, 2.0                           # thresholds that pass on no image, and every image


@dataclass(frozen=True, eq=False)
class Answers:
    """The logits [N, C] of every member for the same images, fastest first, and the right classes [N].

    ``macs`` are the multiply-accumulates of each member for one image. Without labels, ``labels`` are the answers of
    the last member.
    """

    logits: tuple[Logits, ...]
    labels: NDArray[np.int64]
    macs: tuple[int, ...]

    def take(self, rows: NDArray[np.integer]) -> Answers:
        """Return the answers to some of the images."""
        return replace(self, logits=tuple(logits[rows] for logits in self.logits), labels=self.labels[rows])


class Measurement:
    """Measures rules on the same images, with the members' ``temperatures``."""

    def __init__(self, answers: Answers, temperatures: Sequence[float]) -> None:
        self.right = np.stack([logits.argmax(1) == answers.labels for logits in answers.logits])
        self.macs = np.cumsum(answers.macs)        # of an image, by the member that answers it
        self.certainties: dict[CertaintyMeasure, list[NDArray[np.float64]]] = {
            measure: [
                certainty(logits, measure, temperature)
                for logits, temperature in zip(answers.logits[:-1], temperatures, strict=False)
            ]
            for measure in get_args(CertaintyMeasure)
        }

    def answering(self, rule: CertaintyMeasure, thresholds: Sequence[float]) -> NDArray[np.int64]:
        """Return the index [N] of the member that answers each image; see ``CascadePoint``."""
        unsure = np.array(self.certainties[rule]) < np.array(thresholds)[:, None]
        return np.logical_and.accumulate(unsure).sum(0)

    def point(self, rule: CertaintyMeasure, thresholds: tuple[float, ...]) -> CascadePoint:
        """Return what the cascade with this rule answers and costs."""
        member = self.answering(rule, thresholds)
        right, accurate = self.right[member, np.arange(len(member))], self.right[-1]
        reached = len(member) - np.cumsum(np.bincount(member, minlength=len(self.macs)))[:-1]
        return CascadePoint(
            rule, thresholds, (len(member), *reached.tolist()), int(right.sum()),
            int((accurate & ~right).sum()), int((right & ~accurate).sum()), float(self.macs[member].mean()),
        )  # fmt: skip

    def rules(self, measure: CertaintyMeasure) -> Iterator[CascadePoint]:
        """Yield the points of all rules of a grid: thresholds between quantiles of the certainties here."""
        values = self.certainties[measure]
        size = GRID[min(len(values), len(GRID)) - 1]
        for thresholds in product(*(grid_of(column, size) for column in values)):
            yield self.point(measure, thresholds)


def grid_of(values: NDArray[np.float64], size: int) -> list[float]:
    """Return thresholds, ascending, that pass on about 0, 1 / size, …, all of the images with these certainties.

    Each is halfway between two of them, so that rounding in another engine seldom changes a decision.
    """
    ordered = np.sort(values)
    ranks = np.unique(np.linspace(0, len(ordered), size + 1).astype(int)[1:-1])
    ranks = ranks[ranks > 0]
    return [NEVER, *np.unique((ordered[ranks - 1] + ordered[ranks]) / 2).tolist(), ALWAYS]


def candidates(points: Iterable[CascadePoint], most: float) -> list[CascadePoint]:
    """Return the rule with the least ``bound95`` of each step of cost below ``most``, the most expensive first."""
    best: dict[int, CascadePoint] = {}
    for point in (point for point in points if point.macs < most):
        step = int(STEPS * point.macs / most)
        if step not in best or (point.bound95, point.macs) < (best[step].bound95, best[step].macs):
            best[step] = point
    return [best[step] for step in sorted(best, reverse=True)]
