"""What ran, and how right it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from wideresnet.records.pictures import Failure

Precision = Literal["f32", "bf16", "f16", "int8"]


@dataclass(frozen=True)
class EngineInfo:
    """What actually ran: runtime and version, device, the precision executed, threads."""

    runtime: str
    version: str
    device: str
    precision: Precision
    threads: int
    streams: int = 1                               # batches computed side by side


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody else measured and printed. Fractions of 1."""

    top1: float
    top5: float
    source: str                                    # who printed it, and where


@dataclass(frozen=True)
class Measured:
    """An accuracy that we measured on a bundle. ``data`` names the set, n its size."""

    data: str
    n: int
    correct1: int
    correct5: int
    engine: str
    precision: str


@dataclass(frozen=True)
class EvalReport:
    """Counts of one evaluation. Reports over disjoint pictures add up exactly with ``+``."""

    model: str
    data: str
    engine: EngineInfo
    n: int                                         # pictures answered; failures are not among them
    correct1: int
    correct5: int
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: EvalReport) -> EvalReport:
        return EvalReport(
            model=self.model,
            data=self.data,
            engine=self.engine,
            n=self.n + other.n,
            correct1=self.correct1 + other.correct1,
            correct5=self.correct5 + other.correct5,
            failures=self.failures + other.failures,
            seconds=self.seconds + other.seconds,
        )

    @property
    def top1(self) -> float:
        """Share of answered pictures whose likeliest class is right; nan when there are none."""
        return self.correct1 / self.n if self.n else math.nan

    @property
    def top5(self) -> float:
        """Share of answered pictures whose five likeliest classes hold the right one."""
        return self.correct5 / self.n if self.n else math.nan

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of ``top1``."""
        return wilson_interval(self.correct1, self.n)


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval for a share (E. B. Wilson, 1927); z = 1.96 gives 95 %."""
    if n == 0:
        return (0.0, 1.0)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, centre - half), min(1.0, centre + half))
