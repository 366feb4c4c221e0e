"""Runs of one recipe with several seeds, and the interval of their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from wideresnet.records.training import Images

POINTS = 1_000_000                                 # of the integration in ``student_t``


@dataclass(frozen=True)
class SeedRun:
    """A finished run in the folder ``run``; ``log`` has a mapping per epoch (see ``Epoch``)."""

    seed: int
    run: str
    log: tuple[Mapping[str, float], ...]

    @property
    def top1(self) -> float:
        """The accuracy of the last epoch, a fraction."""
        return self.log[-1]["top1"]

    @property
    def seconds(self) -> float:
        """Seconds of all epochs with their evaluations."""
        return sum(line["seconds"] for line in self.log)


@dataclass(frozen=True)
class SeedsReport:
    """The finished runs, at least one, of ``requested`` seeds. Fractions of 1."""

    architecture: str
    requested: int
    runs: tuple[SeedRun, ...]
    images: Images

    @property
    def n(self) -> int:
        """Number of finished runs."""
        return len(self.runs)

    @property
    def mean(self) -> float:
        """Mean accuracy of the last epochs."""
        return mean(run.top1 for run in self.runs)

    @property
    def deviation(self) -> float:
        """Standard deviation of the accuracies, with the divisor n - 1; nan of one run."""
        return stdev(run.top1 for run in self.runs) if self.n > 1 else math.nan

    @property
    def interval95(self) -> tuple[float, float]:
        """The 95 % interval of the mean over all seeds: mean ± t(n - 1) · deviation / √n, in 0 to 1; nan of one run."""
        if self.n < 2:
            return math.nan, math.nan
        half = student_t(self.n - 1) * self.deviation / math.sqrt(self.n)
        return max(0.0, self.mean - half), min(1.0, self.mean + half)


def student_t(degrees: int, level: float = 0.95) -> float:
    """Return the t with the probability ``level`` within ±t of Student's distribution, to a thousandth.

    In the angle θ of t = √degrees · tan θ its density is proportional to cos θ to the power degrees - 1.
    """
    edges = np.linspace(0, math.pi / 2, POINTS + 1)
    below = np.cumsum(np.cos((edges[1:] + edges[:-1]) / 2) ** (degrees - 1))
    return math.sqrt(degrees) * math.tan(np.interp(level * below[-1], below, edges[1:]))
