"""Comparison of a model's measured accuracy with the published one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wideresnet.records.evaluation import EvalReport
from wideresnet.records.models import ModelInfo

# passed, failed: it was evaluated, or could not be. skipped: the data do not suit it. absent: no weights here.
Verdict = Literal["passed", "failed", "skipped", "absent"]
Rule = Literal["tolerance", "interval"]


@dataclass(frozen=True)
class Target:
    """The accuracy that a model is expected to have. Fractions of 1."""

    top1: float
    top5: float
    source: str                                    # publisher, or how it was measured
    pictures: int                                  # images of the complete set


@dataclass(frozen=True)
class Allowed:
    """The limits of a target, by the rule for the number of images. Fractions of 1.

    "tolerance": the measured accuracy ± ``tolerance``, after a run over the complete set. "interval": the exact
    interval of the measured accuracy at ``level``, after a run over a part of it.
    """

    rule: Rule
    top1: tuple[float, float]
    top5: tuple[float, float]
    tolerance: float
    level: float


@dataclass(frozen=True)
class Verification:
    """A model's measured accuracy beside the published one."""

    info: ModelInfo
    verdict: Verdict
    note: str = ""                                 # if nothing was compared: the reason, and what to do
    target: Target | None = None
    report: EvalReport | None = None
    allowed: Allowed | None = None

    @property
    def difference(self) -> tuple[float, float] | None:
        """Measured less published top-1 and top-5, as fractions of 1; None if one of them is missing."""
        if self.report is None or self.target is None:
            return None
        return self.report.top1 - self.target.top1, self.report.top5 - self.target.top5
