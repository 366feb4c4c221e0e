"""Accumulation of scores into an evaluation report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from wideresnet.records import (
    BILLION,
    BINS,
    Bin,
    ClassCounts,
    Confusion,
    EvalReport,
    Example,
    Failure,
    Masked,
    Scored,
    by_path,
    most_frequent,
)

NO_IMAGES = ClassCounts(0, 0, 0)


@dataclass
class EvaluationAccumulator:
    """Counts of the scores so far.

    ``present`` is the number of classes in the data if they are a subset of the model's, else 0.
    """

    present: int = 0
    n: int = 0
    seconds: float = 0.0
    masked1: int = 0
    masked5: int = 0
    masked_known: bool = True                      # every score has a masked rank
    by_class: dict[int, ClassCounts] = field(default_factory=dict)
    confusions: dict[tuple[int, int], Confusion] = field(default_factory=dict)
    bins: list[Bin] = field(default_factory=lambda: [Bin()] * BINS)
    failures: list[Failure] = field(default_factory=list)

    def add(self, answer: Scored | Failure) -> None:
        """Add the outcome of one image."""
        if isinstance(answer, Failure):
            self.failures.append(answer)
            return
        correct1, correct5 = answer.rank == 1, 1 <= answer.rank <= 5
        self.n += 1
        self.seconds += answer.seconds
        self.masked_known &= answer.masked_rank > 0
        self.masked1 += answer.masked_rank == 1
        self.masked5 += 1 <= answer.masked_rank <= 5
        self.by_class[answer.label] = self.by_class.get(answer.label, NO_IMAGES) + ClassCounts(1, correct1, correct5)
        if answer.top and not correct1:
            self._confuse(answer)
        if answer.probabilities:
            confidence = answer.probabilities[0]
            index = min(int(confidence * BINS), BINS - 1)
            self.bins[index] += Bin(1, correct1, round(confidence * BILLION))

    def report(self, blank: EvalReport) -> EvalReport:
        """Return the counts so far with the metadata of ``blank``."""
        has_masked = self.present and self.masked_known and self.n
        masked = Masked(self.present, self.masked1, self.masked5) if has_masked else None
        return replace(
            blank,
            n=self.n,
            correct1=sum(counts.correct1 for counts in self.by_class.values()),
            correct5=sum(counts.correct5 for counts in self.by_class.values()),
            failures=by_path(self.failures),
            seconds=self.seconds,
            masked=masked,
            by_class=dict(sorted(self.by_class.items())),
            confusions=most_frequent(self.confusions.values()),
            bins=tuple(self.bins),
        )

    def _confuse(self, answer: Scored) -> None:
        pair = answer.label, answer.top[0]
        example = Example(answer.probabilities[0] if answer.probabilities else 0.0, answer.path)
        confusion = Confusion(*pair, 1, (example,))
        self.confusions[pair] = self.confusions[pair] + confusion if pair in self.confusions else confusion


def accumulate(answers: Iterable[Scored | Failure], blank: EvalReport, present: int = 0) -> EvalReport:
    """Return the report of all answers; see ``EvaluationAccumulator``."""
    counts = EvaluationAccumulator(present)
    for answer in answers:
        counts.add(answer)
    return counts.report(blank)
