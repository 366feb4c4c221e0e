"""Two sets of answers to the same images, and the significance of their difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from wideresnet.records.accuracy import Z95, wilson_interval
from wideresnet.records.evaluation import EvalReport


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


def paired_interval(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of (only_a - only_b) / n for paired proportions: Wald's, 1/2 added to the four cells.

    Agresti and Min, Statistics in Medicine 24 (2005), 729.
    """
    a, b, total = only_a + 0.5, only_b + 0.5, n + 2
    centre = (a - b) / total
    half = Z95 * math.sqrt(a + b - (a - b) ** 2 / total) / total
    return centre - half, centre + half


def paired_bound(only_a: int, only_b: int, n: int) -> float:
    """Return the upper end of the 95 % interval of (only_a - only_b) / n, from Wilson's limits of both proportions.

    Zou and Donner, Statistics in Medicine 27 (2008), 1693. Close to the end of ``paired_interval``, which is too low
    where few images differ: without any it is 3.84 / n.
    """
    a, b = only_a / n, only_b / n
    above, below = wilson_interval(only_a, n)[1] - a, b - wilson_interval(only_b, n)[0]
    return a - b + math.hypot(above, below)


def images_to_exclude(limit: float, loss: float, flips: float) -> int | None:
    """Return the images n whose ``paired_interval`` ends below ``limit``, given fractions of ``loss`` and ``flips``.

    ``flips``: images that only one of both gets right. None: no number excludes a loss above the one that was measured.
    """
    margin = limit - max(loss, 0.0)                # a gain that few images show may be chance
    if margin <= 0:
        return None
    # The root of margin * N = Z95 * sqrt(flips * N + 1 - 2 * flips), N = n + 2.
    root = math.sqrt((Z95**2 * flips) ** 2 + 4 * (margin * Z95) ** 2 * max(1 - 2 * flips, 0))
    return math.ceil((Z95**2 * flips + root) / (2 * margin**2) - 2)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided exact p of McNemar's test: the chance of a split as uneven if both were equally good."""
    flips, fewer = only_a + only_b, min(only_a, only_b)
    ways = tail = 1                                # of choosing 0 of the flips
    for k in range(1, fewer + 1):
        ways = ways * (flips - k + 1) // k         # math.comb(flips, k), from the one before
        tail += ways
    return min(1.0, float(2 * tail / 2**flips))
