"""Cascades: a fast network answers the images that it is sure of, and passes the others on to a more accurate one."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from wideresnet.errors import ConfigError
from wideresnet.records.accuracy import wilson_interval
from wideresnet.records.comparison import ComparisonReport, paired_bound
from wideresnet.records.images import Failure, Preprocess
from wideresnet.records.skipped import Skipped

CertaintyMeasure = Literal["margin", "max-softmax", "entropy"]


@dataclass(frozen=True)
class CascadePoint:
    """A rule, and the answers of its cascade on ``n`` images beside those of the last member alone.

    Member i answers an image if its certainty, by ``rule`` and in [0, 1], is ``thresholds[i]`` or more; else the image
    is passed on to the next one. The last member answers whatever reaches it. ``reached[i]`` images reached member i.
    Without labels the answers of the last member count as right.
    """

    rule: CertaintyMeasure
    thresholds: tuple[float, ...]
    reached: tuple[int, ...]
    correct: int
    only_accurate: int                             # images that only the last member, run alone, gets right
    only_cascade: int                              # images that only the cascade gets right
    macs: float                                    # mean multiply-accumulates of an image

    @property
    def n(self) -> int:
        """Images that were measured."""
        return self.reached[0]

    @property
    def passed_on(self) -> float:
        """Fraction of images that reach the last member."""
        return self.reached[-1] / self.n

    @property
    def passed_on95(self) -> tuple[float, float]:
        """Wilson's 95 % interval of ``passed_on``."""
        return wilson_interval(self.reached[-1], self.n)

    @property
    def top1(self) -> float:
        """Top-1 accuracy of the cascade."""
        return self.correct / self.n

    @property
    def top1_accurate(self) -> float:
        """Top-1 accuracy of the last member alone."""
        return self.top1 + self.drop

    @property
    def drop(self) -> float:
        """Top-1 of the last member less that of the cascade: negative if the cascade is better."""
        return (self.only_accurate - self.only_cascade) / self.n

    @property
    def bound95(self) -> float:
        """Upper end of the 95 % interval of ``drop``."""
        return paired_bound(self.only_accurate, self.only_cascade, self.n)


@dataclass(frozen=True)
class CascadeMember:
    """A network of a cascade."""

    name: str
    sha256: str                                    # of its card, which holds the hashes of its other files
    preprocess: Preprocess
    macs: int                                      # multiply-accumulates of an image
    temperature: float                             # its logits are divided by this before their certainty is measured


@dataclass(frozen=True)
class CascadeSpeed:
    """Images per second of the last member alone and of the cascade, by turn: of the networks, without decoding.

    Both took turns over the same ``n`` crops, in batches of ``batch``, with the same threads and streams of the engine.
    """

    accurate: tuple[float, ...]
    cascade: tuple[float, ...]
    n: int
    batch: int
    threads: int
    streams: int
    cpu: str

    @property
    def ratios(self) -> tuple[float, ...]:
        """The speed of the cascade divided by that of its last member, for each turn, ascending."""
        return tuple(sorted(fast / slow for fast, slow in zip(self.cascade, self.accurate, strict=True)))


@dataclass(frozen=True)
class Cascade:
    """The members of a cascade, fastest first, its rule, and the images on which that was certified.

    ``point`` was measured on images that did not choose the rule; ``n_choice`` others did.
    """

    members: tuple[CascadeMember, ...]
    point: CascadePoint
    max_drop: float                                # the largest loss of top-1 that was allowed; a fraction of 1
    data: str
    data_sha256: str
    n_choice: int
    labelled: bool                                 # False: ``point`` is about agreement with the last member
    engine: str
    precision: str                                 # of the arithmetic
    speed: CascadeSpeed | None = None              # where it was measured

    def __post_init__(self) -> None:
        count, point = len(self.members), self.point
        counts = count == len(point.thresholds) + 1 == len(point.reached) > 1
        if not (counts and point.n > 0 < point.macs and all(member.temperature > 0 for member in self.members)):
            raise ConfigError("the members of a cascade do not fit its rule", hint="write it again with 'wrn cascade'")

    @property
    def certified(self) -> bool:
        """True if the measured images exclude a loss of more than ``max_drop``."""
        return self.point.bound95 <= self.max_drop

    @property
    def images_per_s(self) -> dict[str, float | None]:
        """The medians of ``speed``: of the last member alone, "accurate", and of the "cascade"."""
        names = "accurate", "cascade"
        return {name: median(getattr(self.speed, name)) if self.speed else None for name in names}

    def macs_ratio(self, point: CascadePoint) -> float:
        """Return the multiply-accumulates of the last member alone, for each one of a cascade with this rule."""
        return self.members[-1].macs / point.macs

    @property
    def specs(self) -> tuple[Preprocess, ...]:
        """The different crops that members need, the first member's first; see ``Preprocess.same_crop``."""
        specs: list[Preprocess] = []
        for member in self.members:
            if not any(map(member.preprocess.same_crop, specs)):
                specs.append(member.preprocess)
        return tuple(specs)


@dataclass(frozen=True)
class CascadeReport:
    """The result of 'wrn cascade'. ``bundle`` is empty where no rule was certified: nothing was written then."""

    bundle: str
    cascade: Cascade
    curve: tuple[CascadePoint, ...]                # on the certifying images, most multiply-accumulates first
    needed: int | None                             # images that could certify the rule; None: no number could
    comparison: ComparisonReport                   # of the last member alone (A) and the cascade (B)
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)
