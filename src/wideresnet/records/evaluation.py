"""Results of evaluations: a score for each image, and counts that add up exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wideresnet.records.accuracy import EngineInfo, PassedOn, wilson_interval
from wideresnet.records.images import Exif, Failure, Labels, Preprocess
from wideresnet.records.skipped import Skipped
from wideresnet.records.uncertainty import UncertaintyCounts

BINS = 15                                          # of confidence, equally wide (Guo et al., arXiv 1706.04599)
BILLION = 10**9
EXAMPLES = 12                                      # images kept of each confused pair


@dataclass(frozen=True)
class Scored:
    """One labelled image with the network's answer.

    ``rank`` is the rank of the right class among all, from 1; ``masked_rank`` among the classes in the data. 0: the
    right class is not among the known answers, as in files of other programs that hold only the likeliest.

    The last fields are losses of all probabilities, and those of calibrated networks, three of them of requested
    prediction sets, and of cascades.
    """

    path: str
    label: int
    rank: int
    masked_rank: int
    top: tuple[int, ...]                           # the likeliest classes, likeliest first
    probabilities: tuple[float, ...]               # of ``top``, softmax over all classes, in [0, 1]
    seconds: float = 0.0                           # the time of its batch divided by the images
    nll: float | None = None                       # of the right class, nats; None in files of other programs
    brier: float | None = None                     # squared error of all probabilities, summed
    p_known: float | None = None                   # see ``Prediction``
    unknown: bool | None = None
    coverage: float | None = None                  # that was requested
    set_size: int | None = None
    covered: bool | None = None                    # the right class is in the set
    passed_on: bool | None = None                  # by a cascade, to its last member


@dataclass(frozen=True)
class ClassCounts:
    """Images of one class."""

    n: int
    correct1: int
    correct5: int

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(self.n + other.n, self.correct1 + other.correct1, self.correct5 + other.correct5)


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of a class, or their means over classes. Fractions of 1.

    ``precision`` is nan if no image was answered with the class; in means it counts as 0, as in scikit-learn.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, order=True)
class Example:
    """A misclassified image with the probability of the wrong answer."""

    probability: float
    path: str


@dataclass(frozen=True)
class Confusion:
    """Images of class ``label`` whose likeliest class was ``answer``; its surest ``EXAMPLES`` among them."""

    label: int
    answer: int
    n: int
    examples: tuple[Example, ...] = ()

    def __add__(self, other: Confusion) -> Confusion:
        examples = sorted((*self.examples, *other.examples), reverse=True)
        return replace(self, n=self.n + other.n, examples=tuple(examples[:EXAMPLES]))


@dataclass(frozen=True)
class Bin:
    """Images with a likeliest class of similar probability. ``billionths`` is the sum of those probabilities.

    Whole numbers add up to the same in any order, which floats do not.
    """

    n: int = 0
    correct: int = 0
    billionths: int = 0

    def __add__(self, other: Bin) -> Bin:
        return Bin(self.n + other.n, self.correct + other.correct, self.billionths + other.billionths)

    @property
    def confidence(self) -> float:
        """Mean probability of the likeliest class; nan when empty."""
        return self.billionths / BILLION / self.n if self.n else math.nan

    @property
    def accuracy(self) -> float:
        """Fraction of right answers; nan when empty."""
        return self.correct / self.n if self.n else math.nan


@dataclass(frozen=True)
class Losses:
    """Sums over images of the losses of ``Scored``, in billionths."""

    nll_billionths: int = 0
    brier_billionths: int = 0

    def __add__(self, other: Losses) -> Losses:
        nll, brier = self.nll_billionths + other.nll_billionths, self.brier_billionths + other.brier_billionths
        return Losses(nll, brier)


@dataclass(frozen=True)
class Masked:
    """Counts of the same images if only the classes in the data are allowed as answers."""

    classes: int
    correct1: int
    correct5: int

    def __add__(self, other: Masked) -> Masked:
        return Masked(self.classes, self.correct1 + other.correct1, self.correct5 + other.correct5)


@dataclass(frozen=True)
class Conditions:
    """The conditions of an accuracy besides model, data and engine."""

    weights_sha256: str
    graph_sha256: str
    stored: str                                    # precision of the stored weights
    preprocess: Preprocess
    exif: Exif
    data_sha256: str                               # of every image's name, label and size, not of its content
    pictures: int                                  # of the complete data set
    labels: Labels                                 # of the network
    present: int                                   # number of these classes in the data set
    shards: tuple[str, ...] = ()                   # "1/4": shards of the data set that were evaluated; empty: all
    machine: Mapping[str, object] = field(default_factory=dict)    # of sums: the values common to all
    assumed: tuple[str, ...] = ()                  # of the model, as on its card
    weights_source: str = ""                       # URL or file of the weights


@dataclass(frozen=True)
class EvalReport:
    """Counts of one evaluation. Reports over disjoint images add up exactly with ``+``.

    ``engine`` and ``conditions`` are None for answers that were read from a file.
    """

    model: str
    data: str
    engine: EngineInfo | None
    n: int                                         # images answered; failures are not among them
    correct1: int
    correct5: int
    failures: tuple[Failure, ...] = ()             # by path
    seconds: float = 0.0
    masked: Masked | None = None                   # None where the data holds every class, or ranks are not known
    by_class: Mapping[int, ClassCounts] = field(default_factory=dict)
    confusions: tuple[Confusion, ...] = ()         # most frequent first
    bins: tuple[Bin, ...] = ()                     # BINS of them, or none where probabilities are not known
    conditions: Conditions | None = None
    max_k: int = 5                                 # ranks that are known of every image, at most 5
    skipped: Skipped = field(default_factory=Skipped)        # in the folders of the whole data set
    notes: tuple[str, ...] = ()                    # what was assumed of the data
    uncertainty: UncertaintyCounts | None = None   # None for models without a calibration
    passed_on: PassedOn | None = None              # of a cascade
    losses: Losses | None = None                   # None where only the likeliest probabilities are known
    order: str = ""                                # why the order of labels is doubtful, or the network at chance level

    def __add__(self, other: EvalReport) -> EvalReport:
        return replace(
            self,
            n=self.n + other.n,
            correct1=self.correct1 + other.correct1,
            correct5=self.correct5 + other.correct5,
            failures=by_path([*self.failures, *other.failures]),
            seconds=self.seconds + other.seconds,
            masked=_add_masked(self, other),
            by_class=_add_classes(self.by_class, other.by_class),
            confusions=most_frequent(_add_confusions([*self.confusions, *other.confusions])),
            bins=tuple(a + b for a, b in zip(self.bins, other.bins, strict=True)),
            conditions=_add_conditions(self.conditions, other.conditions),
            max_k=min(self.max_k, other.max_k),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
            uncertainty=self.uncertainty + other.uncertainty if self.uncertainty and other.uncertainty else None,
            passed_on=self.passed_on + other.passed_on if self.passed_on and other.passed_on else None,
            losses=self.losses + other.losses if self.losses and other.losses else None,
            order="",                              # has to be checked again for the sum
        )

    def __repr__(self) -> str:
        counts, (low, high) = f"{self.n:,} images, {len(self.failures):,} failures", self.interval95
        accuracy = f"top-1 {self.top1:.2%} (95 %: {low:.2%} to {high:.2%}), top-5 {self.top5:.2%}"
        return f"<EvalReport {self.model} on {self.data}: {accuracy}, {counts}>"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that qualify the figures."""
        return (*self.notes, self.order) if self.order else self.notes

    @property
    def top1(self) -> float:
        """Fraction of answered images whose likeliest class is right; nan without images."""
        return self.correct1 / self.n if self.n else math.nan

    @property
    def top5(self) -> float:
        """Fraction of answered images whose five likeliest classes hold the right one; nan if fewer are known."""
        return self.correct5 / self.n if self.n and self.max_k >= 5 else math.nan

    @property
    def class_scores(self) -> dict[int, ClassScores]:
        """Scores of each class that has images, by index; empty if wrong answers are not known."""
        answered = Counter({index: counts.correct1 for index, counts in self.by_class.items()})
        for pair in self.confusions:
            answered[pair.answer] += pair.n
        if answered.total() != self.n:
            return {}
        return {
            index: ClassScores(
                counts.correct1 / answered[index] if answered[index] else math.nan,
                counts.correct1 / counts.n,
                2 * counts.correct1 / (counts.n + answered[index]),
            )
            for index, counts in self.by_class.items()
        }

    @property
    def macro_scores(self) -> ClassScores | None:
        """The means of ``class_scores``, each class counted once."""
        scores = self.class_scores.values()
        if not scores:
            return None
        precisions = (score.precision if score.precision == score.precision else 0.0 for score in scores)
        sums = map(math.fsum, (precisions, (score.recall for score in scores), (score.f1 for score in scores)))
        return ClassScores(*(total / len(scores) for total in sums))

    @property
    def calibrated(self) -> bool:
        """True if the probabilities of the answers are known."""
        return any(bin_.n for bin_ in self.bins)

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of ``top1``."""
        return wilson_interval(self.correct1, self.n)

    @property
    def interval95_top5(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of ``top5``."""
        return wilson_interval(self.correct5, self.n if self.max_k >= 5 else 0)

    @property
    def covered(self) -> dict[int, int]:
        """Images of each class whose prediction set holds it, by index; empty if no sets were requested."""
        counts = self.uncertainty
        if not counts or not counts.sets or sum(counts.covered.values()) < counts.sets.covered:     # an older file
            return {}
        return {index: counts.covered.get(index, 0) for index in self.by_class}

    @property
    def nll(self) -> float | None:
        """Mean negative logarithm of the right class's probability, nats; None if it is not known."""
        return self.losses.nll_billionths / BILLION / self.n if self.losses and self.n else None

    @property
    def brier(self) -> float | None:
        """Mean squared error of all probabilities of an image, summed over classes; None if it is not known."""
        return self.losses.brier_billionths / BILLION / self.n if self.losses and self.n else None

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy over ``bins``, by images.

        nan if probabilities are not known.
        """
        n = sum(bin_.n for bin_ in self.bins)
        gaps = (abs(bin_.billionths / BILLION - bin_.correct) for bin_ in self.bins)
        return math.fsum(gaps) / n if n else math.nan


def most_frequent(confusions: Iterable[Confusion]) -> tuple[Confusion, ...]:
    """Return confused pairs sorted by number of images, then by class."""
    return tuple(sorted(confusions, key=lambda pair: (-pair.n, pair.label, pair.answer)))


def by_path(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """Return failures in an order that does not depend on how the work was divided."""
    return tuple(sorted(failures, key=lambda failure: failure.path))


def _add_masked(a: EvalReport, b: EvalReport) -> Masked | None:
    """Return the sum; a report without an image has nothing to add, and leaves the other one as it is."""
    if not a.n or not b.n:
        return a.masked if a.n else b.masked
    return a.masked + b.masked if a.masked and b.masked else None


def _add_classes(a: Mapping[int, ClassCounts], b: Mapping[int, ClassCounts]) -> dict[int, ClassCounts]:
    zero = ClassCounts(0, 0, 0)
    return {index: a.get(index, zero) + b.get(index, zero) for index in sorted({*a, *b})}


def _add_confusions(confusions: Iterable[Confusion]) -> Iterator[Confusion]:
    sums: dict[tuple[int, int], Confusion] = {}
    for confusion in confusions:
        pair = confusion.label, confusion.answer
        sums[pair] = sums[pair] + confusion if pair in sums else confusion
    yield from sums.values()


def _add_conditions(a: Conditions | None, b: Conditions | None) -> Conditions | None:
    if a is None or b is None:
        return a
    machine = {key: value for key, value in a.machine.items() if b.machine.get(key) == value}
    shards = sorted({*a.shards, *b.shards}, key=lambda shard: int(shard.split("/")[0]))
    return replace(a, shards=tuple(shards), machine=machine)
