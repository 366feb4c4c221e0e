"""Answers to labelled images, counted."""

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
    surest,
)

NONE = ClassCounts(0, 0, 0)


@dataclass
class EvaluationAccumulator:
    """Counts so far. ``present`` is how many classes the data holds where that are not all of them, else 0."""

    present: int = 0
    n: int = 0
    seconds: float = 0.0
    masked1: int = 0
    masked5: int = 0
    ranked: bool = True                            # every masked rank is known
    by_class: dict[int, ClassCounts] = field(default_factory=dict)
    confusions: dict[tuple[int, int], Confusion] = field(default_factory=dict)
    bins: list[Bin] = field(default_factory=lambda: [Bin()] * BINS)
    failures: list[Failure] = field(default_factory=list)

    def add(self, answer: Scored | Failure) -> None:
        """One more image."""
        if isinstance(answer, Failure):
            self.failures.append(answer)
            return
        right1, right5 = answer.rank == 1, 1 <= answer.rank <= 5
        self.n += 1
        self.seconds += answer.seconds
        self.ranked &= answer.masked_rank > 0
        self.masked1 += answer.masked_rank == 1
        self.masked5 += 1 <= answer.masked_rank <= 5
        self.by_class[answer.label] = self.by_class.get(answer.label, NONE) + ClassCounts(1, right1, right5)
        if answer.top and not right1:
            self._confuse(answer)
        if answer.probabilities:
            share = answer.probabilities[0]
            place = min(int(share * BINS), BINS - 1)
            self.bins[place] += Bin(1, right1, round(share * BILLION))

    def report(self, blank: EvalReport) -> EvalReport:
        """The counts so far, with what ``blank`` says of where they hold."""
        masked = Masked(self.present, self.masked1, self.masked5) if self.present and self.ranked and self.n else None
        return replace(
            blank,
            n=self.n,
            correct1=sum(each.correct1 for each in self.by_class.values()),
            correct5=sum(each.correct5 for each in self.by_class.values()),
            failures=by_path(self.failures),
            seconds=self.seconds,
            masked=masked,
            by_class=dict(sorted(self.by_class.items())),
            confusions=most_frequent(self.confusions.values()),
            bins=tuple(self.bins),
        )

    def _confuse(self, answer: Scored) -> None:
        pair = answer.label, answer.top[0]
        one = Example(answer.probabilities[0] if answer.probabilities else 0.0, answer.path)
        known = self.confusions.get(pair)
        if known is None:
            self.confusions[pair] = Confusion(*pair, 1, (one,))
            return
        last = known.examples[-1]
        examples = surest([*known.examples, one]) if len(known.examples) < 3 or one > last else known.examples
        self.confusions[pair] = replace(known, n=known.n + 1, examples=examples)


def tally(answers: Iterable[Scored | Failure], blank: EvalReport, present: int = 0) -> EvalReport:
    """All answers, counted; see ``EvaluationAccumulator``."""
    counts = EvaluationAccumulator(present)
    for answer in answers:
        counts.add(answer)
    return counts.report(blank)
