"""Answers of two models to the same images of a running service: a comparison that grows by one image at a time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from wideresnet.records.accuracy import wilson_interval
from wideresnet.records.comparison import paired_interval

PAIRS, LARGEST = 10_000, 20                        # pairs of classes that are counted, disagreements that are kept


@dataclass(frozen=True)
class ComparedImage:
    """One image and the answers of A and B. The id of its ``request`` finds it in the log of the service."""

    request: str
    answers: tuple[int, int]                       # the likeliest class of each
    probabilities: tuple[float, float]             # of ``answers``
    distance: float                                # total variation between both distributions over classes, 0 to 1
    label: int | None = None                       # the right class, where the client sent it
    decoded_again: bool = False                    # for B, which takes another crop


@dataclass(frozen=True)
class ShadowReport:
    """A, which answers, and B, its shadow, on the images that both answered since ``since``. Fractions of 1."""

    models: tuple[str, str]
    graphs: tuple[str, str] = ("", "")             # sha256
    since: str = ""                                # ISO 8601; "" before the models are open
    paused: str = ""                               # why no image is compared at present
    n: int = 0
    agreements: int = 0                            # images with the same likeliest class
    change: float = 0.0                            # confidence of B less that of A, summed over images
    right: Counter[tuple[bool, bool]] = field(default_factory=Counter)    # labelled images, by whether A, B are right
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)      # disagreements by the classes of A and B
    largest: tuple[ComparedImage, ...] = ()        # disagreements, the largest distance first
    dropped: Counter[str] = field(default_factory=Counter)                # sampled and not compared, by reason
    decoded_again: int = 0                         # of ``n``

    def with_image(self, image: ComparedImage) -> ShadowReport:
        """Return the report with one more image."""
        a, b = image.answers
        (before, after), label, different = image.probabilities, image.label, a != b
        counted = different and ((a, b) in self.pairs or len(self.pairs) < PAIRS)
        largest = sorted((*self.largest, *[image] * different), key=lambda image: -image.distance)
        return replace(
            self, n=self.n + 1, agreements=self.agreements + (not different), change=self.change + after - before,
            right=self.right if label is None else self.right + Counter([(a == label, b == label)]),
            pairs=self.pairs + Counter([(a, b)]) if counted else self.pairs,
            largest=tuple(largest[:LARGEST]), decoded_again=self.decoded_again + image.decoded_again,
        )  # fmt: skip

    def with_dropped(self, reason: str) -> ShadowReport:
        """Return the report with one more image that was sampled and not compared."""
        return replace(self, dropped=self.dropped + Counter([reason]))

    @property
    def agreement(self) -> tuple[float, float, float]:
        """Fraction of images with the same likeliest class between the ends of its 95 % interval (Wilson's).

        1 less the lower end bounds the difference in top-1, whatever the right answers are. nan without images.
        """
        low, high = wilson_interval(self.agreements, self.n)
        return low, self.agreements / self.n if self.n else math.nan, high

    @property
    def difference(self) -> tuple[float, float, float]:
        """Top-1 of B less that of A on labelled images, between the ends of its 95 % interval; nan without any."""
        only_a, only_b, n = self.right[True, False], self.right[False, True], self.right.total()
        low, high = paired_interval(only_b, only_a, n) if n else (-1.0, 1.0)
        return low, (only_b - only_a) / n if n else math.nan, high

    @property
    def mean_change(self) -> float:
        """Mean confidence of B less that of A; nan without images."""
        return self.change / self.n if self.n else math.nan
