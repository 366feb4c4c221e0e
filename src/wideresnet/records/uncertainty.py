"""The calibration of a model's answers: temperature, prediction sets, and images unlike those it knows.

Not to be confused with ``ModelCard.calibration``, the images that set the ranges of an int8 graph.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from wideresnet.records.accuracy import wilson_interval
from wideresnet.records.images import Failure
from wideresnet.records.skipped import Skipped

if TYPE_CHECKING:
    from wideresnet.records.evaluation import Bin

SetMethod = Literal["lac", "raps"]
UnknownMethod = Literal["knn", "vim", "mahalanobis", "energy", "max-logit", "max-softmax"]
Interval = tuple[float, float]
P_BINS = 20                                        # of p-values, equally wide


@dataclass(frozen=True)
class ScoreQuantiles:
    """The scores of ``n`` calibration images, as some of their order statistics.

    ``values[i]`` is the ``ranks[i]``-th smallest score, counted from 1. The ranks lie closer together at the upper end,
    where they decide. What lies between two of them is rounded so that promises hold: coverage and p-values are a
    little too large, never too small.
    """

    n: int
    ranks: tuple[int, ...]
    values: tuple[float, ...]

    def threshold(self, coverage: float) -> float:
        """Return the largest score that belongs to a set with this coverage, in (0, 1); infinite with too few images.

        The ⌈(n + 1) · coverage⌉-th smallest (Vovk et al., 2005).
        """
        needed = math.ceil((self.n + 1) * coverage - 1e-9)
        return self.values[bisect_left(self.ranks, needed)] if needed <= self.n else math.inf

    def p_value(self, score: float) -> float:
        """Return the conformal p-value: (1 + the number of calibration images that score as much or more) / (n + 1)."""
        index = bisect_left(self.values, score)
        smaller = self.ranks[index - 1] if index else 0
        return (1 + self.n - smaller) / (self.n + 1)


@dataclass(frozen=True)
class Reliability:
    """The quality of probabilities on ``n`` images. ``ece`` and ``classwise_ece`` are over 15 bins; fractions."""

    n: int
    nll: float                                     # mean negative logarithm of the right class's probability, nats
    brier: float                                   # mean squared error of all probabilities of an image, summed
    ece: float                                     # mean gap between confidence and accuracy (arXiv 1706.04599)
    classwise_ece: float                           # the same of the probability of each class, averaged over classes


@dataclass(frozen=True)
class MarginScale:
    """The factor of an image's logits, after the temperature: ``offset`` + ``slope`` · (largest - second logit).

    ``offset`` is positive and ``slope`` at least 0, so that the order of the classes is the same.
    """

    offset: float = 1.0
    slope: float = 0.0

    def factors(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the factor of each row of logits [N, C]: [N]."""
        second, largest = np.partition(logits, -2, axis=1)[:, -2:].T
        return np.float32(self.offset) + np.float32(self.slope) * (largest - second)

    def scale(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits [N, C] multiplied by the factor of their row."""
        return logits * self.factors(logits)[:, None]


@dataclass(frozen=True)
class SetModel:
    """Prediction sets by split conformal prediction: the classes whose scores are within the threshold.

    "lac": 1 - probability (Sadinle et al., arXiv 1609.00451), with the smallest sets. "raps": the probability of all
    likelier classes and a random part of its own, with a ``penalty`` for each rank beyond ``free_ranks`` (Angelopoulos
    et al., arXiv 2009.14193): larger sets for harder images. ``classes`` are scores by class, if sets cover each class;
    None for a class with too few images, which uses those of all.
    """

    method: SetMethod
    scores: ScoreQuantiles
    penalty: float = 0.0
    free_ranks: int = 0
    classes: tuple[ScoreQuantiles | None, ...] = ()

    @property
    def n(self) -> int:
        """The number of scores, or that of the class with the fewest: more coverage takes more of them."""
        return min(scores.n for scores in (self.scores, *self.classes) if scores)

    def thresholds(self, coverage: float) -> list[float]:
        """Return the threshold of each class; one for all classes, if sets cover no single classes."""
        return [(scores or self.scores).threshold(coverage) for scores in self.classes or (self.scores,)]


@dataclass(frozen=True)
class SetCoverage:
    """Prediction sets at one level: on how many of ``n`` images they hold the right class, and how large they are.

    ``sizes[i]`` is the number of images with a set of i + 1 classes.
    """

    level: float
    n: int
    covered: int
    sizes: tuple[int, ...] = ()

    def __add__(self, other: SetCoverage) -> SetCoverage:
        sizes = tuple(a + b for a, b in zip_longest(self.sizes, other.sizes, fillvalue=0))
        return replace(self, n=self.n + other.n, covered=self.covered + other.covered, sizes=sizes)

    @property
    def interval95(self) -> Interval:
        """Wilson's 95 % interval of the coverage."""
        return wilson_interval(self.covered, self.n)

    @property
    def mean_size(self) -> float:
        """The mean number of classes in a set."""
        return sum(size * count for size, count in enumerate(self.sizes, start=1)) / max(1, self.n)


@dataclass(frozen=True)
class Selective:
    """Answers with at least this probability: at most ``error`` of them are wrong, with 95 % confidence.

    ``probability`` is infinite if no threshold can promise that. ``n`` images were answered in the measurement,
    ``wrong`` of them wrongly, out of ``total``.
    """

    error: float
    probability: float
    n: int = 0
    wrong: int = 0
    total: int = 0


@dataclass(frozen=True)
class UnknownModel:
    """A score of how far an image is from what the network knows, computed in its graph.

    An image is called unknown if its conformal p-value among the calibration images is below ``refused``. The scores
    here are negated, so that unknown images have large ones.
    """

    method: UnknownMethod
    scores: ScoreQuantiles
    refused: float = 0.01                          # fraction of genuine images that are called unknown
    bank: str = ""                                 # the images compared with: "5,000 images of cifar10 train"
    k: int = 0                                     # "knn": the rank of the neighbour


@dataclass(frozen=True)
class Uncertainty:
    """The calibration of a model, and measurements on ``n_test`` images that decided nothing.

    ``n_fit`` images decided the temperature (and the bank, if there were no other images for it), ``n_scores`` the
    thresholds of sets, selective answers and unknown images.
    """

    data: str
    data_sha256: str
    test: str
    n_fit: int
    n_scores: int
    n_test: int
    temperature: float
    before: Reliability
    after: Reliability
    sets: SetModel
    coverage: tuple[SetCoverage, ...]
    selective: tuple[Selective, ...]
    unknown: UnknownModel
    n_unknown: int                                 # test images called unknown: a promise of n_test times refused
    margin: MarginScale | None = None              # None: the temperature alone

    @property
    def digest(self) -> str:
        """Text that differs between two calibrations of a model."""
        return f"{crc32(repr(self).encode()):08x}"


@dataclass(frozen=True)
class UncertaintyCounts:
    """The further answers of a calibrated model in an evaluation, in whole numbers, which add up exactly.

    ``calibration`` is the digest of its ``Uncertainty``, ``refused`` as in ``UnknownModel``. ``p_values[i]`` is the
    number of images whose p-value is in the i-th of ``P_BINS`` bins. ``sets`` is None if no sets were requested, else
    ``covered`` has the images of each class whose set holds it, by index.
    """

    calibration: str
    refused: float
    unknown: int = 0
    p_values: tuple[int, ...] = (0,) * P_BINS
    sets: SetCoverage | None = None
    covered: Mapping[int, int] = field(default_factory=dict)

    def __add__(self, other: UncertaintyCounts) -> UncertaintyCounts:
        p_values = tuple(a + b for a, b in zip(self.p_values, other.p_values, strict=True))
        sets = self.sets + other.sets if self.sets and other.sets else None
        covered = dict(sorted((Counter(self.covered) + Counter(other.covered)).items()))
        return replace(self, unknown=self.unknown + other.unknown, p_values=p_values, sets=sets, covered=covered)


@dataclass(frozen=True)
class KnownScores:
    """Numbers of images by their score, in equal bins from ``least`` to ``most``.

    ``thresholds`` are the images that set thresholds, ``test`` those that measured.
    """

    least: float
    most: float
    thresholds: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class CalibrateReport:
    """The result of 'wrn calibrate': the bundle that was written, and what its card says now.

    ``before`` and ``after`` are the ``BINS`` of confidence of the test images, ``p_values`` counts them as in
    ``UncertaintyCounts``.
    """

    bundle: str
    model: str
    uncertainty: Uncertainty
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]
    p_values: tuple[int, ...]
    scores: KnownScores
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)
