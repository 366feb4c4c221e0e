"""How right a network was: per image, and as counts that add up exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from wideresnet.records.accuracy import EngineInfo, wilson_interval
from wideresnet.records.images import Exif, Failure, Labels, Preprocess
from wideresnet.records.skipped import Skipped

BINS = 15                                          # of confidence, equally wide (Guo et al., arXiv 1706.04599)
BILLION = 10**9
EXAMPLES = 3                                       # images kept of each confused pair


@dataclass(frozen=True)
class Scored:
    """One labelled image and what was said of it.

    ``rank`` is the place of the right class among all, from 1; ``masked_rank`` among the classes that the data holds.
    0: it is not among the answers that are known, which files of others keep only some of.
    """

    path: str
    label: int
    rank: int
    masked_rank: int
    top: tuple[int, ...]                           # the likeliest classes, likeliest first
    probabilities: tuple[float, ...]               # of ``top``, softmax over all classes, in [0, 1]
    seconds: float = 0.0                           # its share of the time that its batch took


@dataclass(frozen=True)
class ClassCounts:
    """Images of one class."""

    n: int
    correct1: int
    correct5: int

    def __add__(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(self.n + other.n, self.correct1 + other.correct1, self.correct5 + other.correct5)


@dataclass(frozen=True, order=True)
class Example:
    """An image that was taken for another class, and how sure the network was of that."""

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
        return replace(self, n=self.n + other.n, examples=surest([*self.examples, *other.examples]))


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
        """Share of right answers; nan when empty."""
        return self.correct / self.n if self.n else math.nan


@dataclass(frozen=True)
class Masked:
    """The same images when only the classes that the data holds may be answered."""

    classes: int
    correct1: int
    correct5: int


@dataclass(frozen=True)
class Conditions:
    """What an accuracy holds for, besides model, data and engine."""

    weights_sha256: str
    graph_sha256: str
    stored: str                                    # precision of the stored weights
    preprocess: Preprocess
    exif: Exif
    data_sha256: str                               # of every image's name, label and size, not of its content
    pictures: int                                  # of the whole data set
    labels: Labels                                 # of the network
    present: int                                   # of those, the ones that the data set holds
    shards: tuple[str, ...] = ()                   # "1/4": which parts of the data set these are; empty: all
    machine: Mapping[str, object] = field(default_factory=dict)    # of sums: what is the same of all
    assumed: tuple[str, ...] = ()                  # of the model, as on its card


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
    known: int = 5                                 # likeliest classes that are known of every image, at most 5
    skipped: Skipped = field(default_factory=Skipped)        # in the folders of the whole data set
    notes: tuple[str, ...] = ()                    # what was assumed of the data
    order: str = ""                                # why the labels may be in another order than the network's classes

    def __add__(self, other: EvalReport) -> EvalReport:
        return replace(
            self,
            n=self.n + other.n,
            correct1=self.correct1 + other.correct1,
            correct5=self.correct5 + other.correct5,
            failures=by_path([*self.failures, *other.failures]),
            seconds=self.seconds + other.seconds,
            masked=_add_masked(self.masked, other.masked),
            by_class=_add_classes(self.by_class, other.by_class),
            confusions=most_frequent(_add_confusions([*self.confusions, *other.confusions])),
            bins=tuple(a + b for a, b in zip(self.bins, other.bins, strict=True)),
            conditions=_add_conditions(self.conditions, other.conditions),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
            order="",                              # of the sum it is to be asked again
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known besides the figures."""
        return (*self.notes, self.order) if self.order else self.notes

    @property
    def top1(self) -> float:
        """Share of answered images whose likeliest class is right; nan when there are none."""
        return self.correct1 / self.n if self.n else math.nan

    @property
    def top5(self) -> float:
        """Share of answered images whose five likeliest classes hold the right one; nan where not all are known."""
        return self.correct5 / self.n if self.n and self.known >= 5 else math.nan

    @property
    def calibrated(self) -> bool:
        """Whether the probabilities of the answers are known."""
        return any(bin_.n for bin_ in self.bins)

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of ``top1``."""
        return wilson_interval(self.correct1, self.n)

    @property
    def interval95_top5(self) -> tuple[float, float]:
        """The same of ``top5``."""
        return wilson_interval(self.correct5, self.n if self.known >= 5 else 0)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy over ``bins``, by images.

        nan where nothing is known of the probabilities.
        """
        n = sum(each.n for each in self.bins)
        gaps = (abs(each.billionths / BILLION - each.correct) for each in self.bins)
        return math.fsum(gaps) / n if n else math.nan


def surest(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The ``EXAMPLES`` of highest probability."""
    return tuple(sorted(examples, reverse=True)[:EXAMPLES])


def most_frequent(confusions: Iterable[Confusion]) -> tuple[Confusion, ...]:
    """Most images first, then by class."""
    return tuple(sorted(confusions, key=lambda each: (-each.n, each.label, each.answer)))


def by_path(failures: Iterable[Failure]) -> tuple[Failure, ...]:
    """In an order that does not depend on how the work was divided."""
    return tuple(sorted(failures, key=lambda each: each.path))


def _add_masked(one: Masked | None, other: Masked | None) -> Masked | None:
    if one is None or other is None:
        return None
    return Masked(one.classes, one.correct1 + other.correct1, one.correct5 + other.correct5)


def _add_classes(one: Mapping[int, ClassCounts], other: Mapping[int, ClassCounts]) -> dict[int, ClassCounts]:
    none = ClassCounts(0, 0, 0)
    return {index: one.get(index, none) + other.get(index, none) for index in sorted({*one, *other})}


def _add_confusions(confusions: Iterable[Confusion]) -> Iterator[Confusion]:
    sums: dict[tuple[int, int], Confusion] = {}
    for each in confusions:
        pair = each.label, each.answer
        sums[pair] = sums[pair] + each if pair in sums else each
    yield from sums.values()


def _add_conditions(one: Conditions | None, other: Conditions | None) -> Conditions | None:
    if one is None or other is None:
        return one
    machine = {key: value for key, value in one.machine.items() if other.machine.get(key) == value}
    return replace(one, shards=tuple(sorted({*one.shards, *other.shards}, key=_place)), machine=machine)


def _place(shard: str) -> int:
    return int(shard.split("/")[0])
