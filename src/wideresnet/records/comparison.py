"""Two sets of answers to the same images, and the significance of their difference."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from wideresnet.records.accuracy import wilson_interval
from wideresnet.records.evaluation import EvalReport

ROUNDING = 1e-9                                    # of fractions: less is no difference


@dataclass(frozen=True)
class Flip:
    """An image that only one of A and B got right."""

    path: str
    label: int
    right: Literal["A", "B"]
    answers: tuple[int, int]                       # the likeliest class of A and of B; -1: not known
    probabilities: tuple[float, float]             # of ``answers``; nan: not known

    @property
    def mistake(self) -> float:
        """The probability of the wrong answer."""
        return self.probabilities[1 if self.right == "A" else 0]


@dataclass(frozen=True)
class ClassChange:
    """Images of one class, and how many of them A and B got right."""

    label: int
    n: int
    correct: tuple[int, int]

    @property
    def difference(self) -> int:
        """Images that B got right in excess of A."""
        return self.correct[1] - self.correct[0]


@dataclass(frozen=True)
class ComparisonReport:
    """A and B over the images that both answered (at least one), paired by path. Fractions of 1.

    The ``failures`` of ``a`` and ``b`` are complete; images that the other side does not hold at all are in
    ``only_a`` and ``only_b``.
    """

    a: EvalReport
    b: EvalReport
    agreements: int                                # images with the same likeliest class, right or wrong
    flips: tuple[Flip, ...]                        # surest mistake first
    only_a: tuple[str, ...] = ()                   # paths, sorted
    only_b: tuple[str, ...] = ()

    def __repr__(self) -> str:
        low, high = self.interval95
        change = f"top-1 {self.difference:+.2%} (95 %: {low:+.2%} to {high:+.2%}), {self.n:,} images"
        return f"<ComparisonReport {self.b.model} less {self.a.model}: {change}>"

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of both sides."""
        return tuple(dict.fromkeys((*self.a.warnings, *self.b.warnings)))

    @property
    def n(self) -> int:
        """Images that both answered."""
        return self.a.n

    @property
    def only_a_correct(self) -> int:
        """Images that only A answered correctly."""
        return sum(flip.right == "A" for flip in self.flips)

    @property
    def only_b_correct(self) -> int:
        """Images that only B answered correctly."""
        return len(self.flips) - self.only_a_correct

    @property
    def difference(self) -> float:
        """Top-1 of B less that of A: positive if B is better."""
        return (self.only_b_correct - self.only_a_correct) / self.n

    @property
    def interval95(self) -> tuple[float, float]:
        """95 % interval of ``difference`` for paired proportions."""
        return paired_interval(self.only_b_correct, self.only_a_correct, self.n)

    @property
    def p_value(self) -> float:
        """McNemar's exact p."""
        return mcnemar(self.only_a_correct, self.only_b_correct)

    @property
    def agreement(self) -> float:
        """Fraction of images with the same likeliest class."""
        return self.agreements / self.n

    @property
    def changes(self) -> tuple[ClassChange, ...]:
        """The classes with different numbers of right answers, most changed first."""
        changes = (
            ClassChange(label, counts.n, (counts.correct1, self.b.by_class[label].correct1))
            for label, counts in self.a.by_class.items()
        )
        changed = (change for change in changes if change.difference)
        return tuple(sorted(changed, key=lambda change: (-abs(change.difference), change.label)))


def paired_interval(only_a: float, only_b: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of (only_a - only_b) / n for paired proportions, from ``paired_bound`` both ways."""
    return -paired_bound(only_b, only_a, n), paired_bound(only_a, only_b, n)


def paired_bound(only_a: float, only_b: float, n: float) -> float:
    """Return the upper end of the 95 % interval of (only_a - only_b) / n, from Wilson's limits of both proportions.

    Zou and Donner, Statistics in Medicine 27 (2008), 1693. It also holds where few images differ: without any it is
    3.84 / (n + 3.84).
    """
    a, b = only_a / n, only_b / n
    above, below = wilson_interval(only_a, n)[1] - a, b - wilson_interval(only_b, n)[0]
    # An image in one of both counts is not in the other, so that the counts are correlated.
    correlation = -math.sqrt(a * b / ((1 - a) * (1 - b))) if a * b > 0 else 0.0
    return a - b + math.sqrt(above**2 + below**2 - 2 * correlation * above * below)


def images_to_exclude(limit: float, loss: float, flips: float) -> int | None:
    """Return the fewest images whose ``paired_bound`` is within ``limit``, given fractions of ``loss`` and ``flips``.

    ``flips``: images that only one of both gets right. None: no number excludes a loss above the one that was measured.
    """
    loss = max(loss, 0.0)                          # a gain that few images show may be chance
    if limit - loss < ROUNDING:
        return None
    lost, gained = (flips + loss) / 2, (flips - loss) / 2
    return 1 + bisect_left(range(1, 2**62), True, key=lambda n: paired_bound(lost * n, gained * n, n) <= limit)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided exact p of McNemar's test: the chance of a split as uneven if both were equally good."""
    flips, fewer = only_a + only_b, min(only_a, only_b)
    ways = tail = 1                                # of choosing 0 of the flips
    for k in range(1, fewer + 1):
        ways = ways * (flips - k + 1) // k         # math.comb(flips, k), from the one before
        tail += ways
    return min(1.0, float(2 * tail / 2**flips))
