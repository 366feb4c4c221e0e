"""Accumulation of scores into an evaluation report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from wideresnet import records

NO_IMAGES = records.ClassCounts(0, 0, 0)


@dataclass
class UncertaintySums:
    """Sums of the fields that only scores of calibrated models have; ``n`` scores have them."""

    n: int = 0
    unknown: int = 0
    covered: Counter[int] = field(default_factory=Counter)     # by class
    p_values: list[int] = field(default_factory=lambda: [0] * records.P_BINS)
    sizes: Counter[int] = field(default_factory=Counter)

    def add(self, answer: records.Scored) -> None:
        """Add the score of one image."""
        if answer.p_known is not None:
            self.n += 1
            self.unknown += bool(answer.unknown)
            self.covered[answer.label] += bool(answer.covered)
            self.p_values[min(int(answer.p_known * records.P_BINS), records.P_BINS - 1)] += 1
            self.sizes[answer.set_size or 0] += 1

    def counts(self, blank: records.UncertaintyCounts) -> records.UncertaintyCounts:
        """Return the sums, with the metadata of ``blank``."""
        sizes = tuple(self.sizes[size] for size in range(1, max(self.sizes, default=0) + 1))
        sets = blank.sets and replace(blank.sets, n=self.n, covered=self.covered.total(), sizes=sizes)
        covered = dict(sorted((+self.covered).items())) if sets else {}
        return replace(blank, unknown=self.unknown, p_values=tuple(self.p_values), sets=sets, covered=covered)


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
    listed: int = 5                                # ``EvalReport.max_k``
    losses: records.Losses | None = field(default_factory=records.Losses)    # None: a score has none
    by_class: dict[int, records.ClassCounts] = field(default_factory=dict)
    confusions: dict[tuple[int, int], records.Confusion] = field(default_factory=dict)
    bins: list[records.Bin] = field(default_factory=lambda: [records.Bin()] * records.BINS)
    failures: list[records.Failure] = field(default_factory=list)
    uncertainty: UncertaintySums = field(default_factory=UncertaintySums)
    passed_on: Counter[bool] = field(default_factory=Counter)      # by a cascade

    def add(self, answer: records.Scored | records.Failure) -> None:
        """Add the outcome of one image."""
        if isinstance(answer, records.Failure):
            self.failures.append(answer)
            return
        correct1, correct5 = answer.rank == 1, 1 <= answer.rank <= 5
        self.n += 1
        self.uncertainty.add(answer)
        if answer.passed_on is not None:
            self.passed_on[answer.passed_on] += 1
        self.seconds += answer.seconds
        self.masked_known &= answer.masked_rank > 0
        if not answer.rank:
            self.listed = min(self.listed, len(answer.top))
        if self.losses and answer.nll is not None and answer.brier is not None:
            self.losses += records.Losses(*(round(loss * records.BILLION) for loss in (answer.nll, answer.brier)))
        else:
            self.losses = None
        self.masked1 += answer.masked_rank == 1
        self.masked5 += 1 <= answer.masked_rank <= 5
        counts = records.ClassCounts(1, correct1, correct5)
        self.by_class[answer.label] = self.by_class.get(answer.label, NO_IMAGES) + counts
        if answer.top and not correct1:
            self._confuse(answer)
        if answer.probabilities:
            confidence = answer.probabilities[0]
            index = min(int(confidence * records.BINS), records.BINS - 1)
            self.bins[index] += records.Bin(1, correct1, round(confidence * records.BILLION))

    def report(self, blank: records.EvalReport) -> records.EvalReport:
        """Return the counts so far with the metadata of ``blank``."""
        has_masked = self.present and self.masked_known and self.n
        complete = self.uncertainty.n == self.n
        return replace(
            blank,
            n=self.n,
            correct1=sum(counts.correct1 for counts in self.by_class.values()),
            correct5=sum(counts.correct5 for counts in self.by_class.values()),
            max_k=min(blank.max_k, self.listed),
            failures=records.by_path(self.failures),
            seconds=self.seconds,
            masked=records.Masked(self.present, self.masked1, self.masked5) if has_masked else None,
            by_class=dict(sorted(self.by_class.items())),
            confusions=records.most_frequent(self.confusions.values()),
            bins=tuple(self.bins),
            uncertainty=self.uncertainty.counts(blank.uncertainty) if blank.uncertainty and complete else None,
            losses=self.losses,
            passed_on=blank.passed_on
            and replace(blank.passed_on, images=self.passed_on[True], n=self.passed_on.total()),
        )

    def _confuse(self, answer: records.Scored) -> None:
        pair = answer.label, answer.top[0]
        example = records.Example(answer.probabilities[0] if answer.probabilities else 0.0, answer.path)
        confusion = records.Confusion(*pair, 1, (example,))
        self.confusions[pair] = self.confusions[pair] + confusion if pair in self.confusions else confusion


def accumulate(
    answers: Iterable[records.Scored | records.Failure], blank: records.EvalReport, present: int = 0
) -> records.EvalReport:
    """Return the report of all answers; see ``EvaluationAccumulator``."""
    counts = EvaluationAccumulator(present)
    for answer in answers:
        counts.add(answer)
    return counts.report(blank)
