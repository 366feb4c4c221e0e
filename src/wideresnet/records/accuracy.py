"""Engines and accuracies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wideresnet.precision import Precision

Z95 = 1.959963984540054                          # standard errors on either side of a 95 % interval


@dataclass(frozen=True)
class EngineInfo:
    """The runtime that ran: its version, device, executed precision, and threads."""

    runtime: str
    version: str
    device: str
    precision: Precision
    threads: int
    streams: int = 1                               # batches computed side by side


@dataclass(frozen=True)
class Published:
    """A published accuracy. Fractions of 1."""

    top1: float
    top5: float
    source: str                                    # publisher and place of publication


@dataclass(frozen=True)
class Measured:
    """An accuracy measured on a bundle. ``data`` names the set, n its size."""

    data: str
    n: int
    correct1: int
    correct5: int
    engine: str
    precision: str


@dataclass(frozen=True)
class PassedOn:
    """Images that a cascade passed on to its last member, out of ``n``, beside the interval at certification."""

    certified95: tuple[float, float]
    images: int = 0
    n: int = 0

    def __add__(self, more: PassedOn) -> PassedOn:
        return PassedOn(self.certified95, self.images + more.images, self.n + more.n)

    @property
    def is_unusual(self) -> bool:
        """True if the 95 % interval of the fraction does not overlap that of the certification."""
        return self.differs(Z95)

    def differs(self, z: float) -> bool:
        """Return whether the interval of the fraction, ``z`` standard errors wide, does not overlap that one.

        Wilson's with the correction for continuity (half an image), without which one image in five would differ alone.
        """
        low, _ = wilson_interval(max(self.images - 0.5, 0), self.n, z)
        _, high = wilson_interval(min(self.images + 0.5, self.n), self.n, z)
        least, most = self.certified95
        return low > most or high < least


def images_to_show(limit: float, fraction: float) -> int | None:
    """Return the images whose Wilson interval around ``fraction`` begins at ``limit``; None if no number does."""
    if fraction <= limit:
        return None
    return math.ceil(Z95**2 * limit * (1 - limit) / (fraction - limit) ** 2)


def wilson_interval(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (E. B. Wilson, 1927): ``z`` standard errors on either side."""
    if n == 0:
        return (0.0, 1.0)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, centre - half), min(1.0, centre + half))


def exact_interval(successes: int, n: int, level: float) -> tuple[float, float]:
    """Return the interval of a proportion that holds it in a fraction ``level`` of samples or more, of any size."""
    delta = (1 - level) / 2
    return 1 - error_bound(n - successes, n, delta), error_bound(successes, n, delta)


def error_bound(wrong: int, n: int, delta: float) -> float:
    """Return the upper limit of an error rate with ``wrong`` errors in ``n``, at confidence 1 - delta, one-sided.

    Exact (Clopper and Pearson, 1934): the rate at which so few errors have the probability ``delta``.
    """
    if wrong >= n:
        return 1.0
    counts = np.arange(wrong + 1)
    logs = np.log(np.maximum(1, np.arange(n + 1))).cumsum()        # of the factorials
    ways = logs[n] - logs[counts] - logs[n - counts]
    low, high = wrong / n, 1.0
    for _ in range(50):
        rate = (low + high) / 2
        few = np.exp(ways + counts * math.log(rate) + (n - counts) * math.log1p(-rate)).sum() if rate < 1 else 0.0
        low, high = (rate, high) if few > delta else (low, rate)
    return high
