"""Comparison of a model's measured accuracy with the published one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wideresnet.records.evaluation import EvalReport
from wideresnet.records.models import ModelInfo

# passed, failed: it was evaluated, or failed before it could be. skipped: the data are not for it. absent: not here.
Verdict = Literal["passed", "failed", "skipped", "absent"]
Rule = Literal["tolerance", "interval"]


@dataclass(frozen=True)
class Target:
    """An accuracy that a model is held to. Fractions of 1."""

    top1: float
    top5: float
    source: str                                    # who printed it, or how it was measured
    pictures: int                                  # of the whole set that it holds for


@dataclass(frozen=True)
class Allowed:
    """From where to where a target may lie, by the rule that fits the number of images. Fractions of 1.

    "tolerance": so far from what was measured, where the whole set was run. "interval": Wilson's interval of what was
    measured, at ``level``, where only some of it was.
    """

    rule: Rule
    top1: tuple[float, float]
    top5: tuple[float, float]
    tolerance: float
    level: float


@dataclass(frozen=True)
class Verification:
    """One model: what was measured beside what was printed."""

    info: ModelInfo
    verdict: Verdict
    note: str = ""                                 # why, and what to do, where there is nothing to compare
    target: Target | None = None
    report: EvalReport | None = None
    allowed: Allowed | None = None

    @property
    def difference(self) -> tuple[float, float] | None:
        """Measured less printed, top-1 and top-5, as fractions of 1; None where one is missing."""
        if self.report is None or self.target is None:
            return None
        return self.report.top1 - self.target.top1, self.report.top5 - self.target.top5
