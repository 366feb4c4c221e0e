"""Speeds of models, and their breakdown by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wideresnet.precision import Precision
from wideresnet.records.skipped import Skipped


@dataclass(frozen=True)
class Peak:
    """The machine's peak: G operations a second of a large matrix product, 2 a multiply-accumulate.

    None if the CPU does not execute that precision.
    """

    f32: float | None = None
    bf16: float | None = None
    int8: float | None = None


@dataclass(frozen=True)
class Choice:
    """One way to run published weights on a machine. ``top1`` is a fraction of 1, as published for float32.

    For int8 the loss that the gate allows is taken off. ``latency_ms`` is of one image, the network alone.
    """

    name: str
    pixels: int
    precision: str                                 # f32, bf16 or int8
    top1: float
    images_per_s: float
    latency_ms: float
    speed: Literal["measured", "predicted"]
    source: str                                    # publisher of the accuracy
    best: bool = False                             # no other is as accurate and as fast
    fits: bool = False                             # it meets the requirements
    latency: Literal["measured", "predicted"] = "predicted"    # origin of ``latency_ms``; ``speed`` is that of the rate
    is_cascade: bool = False                       # then ``name`` is its folder, and ``top1`` as it was certified


@dataclass(frozen=True)
class BenchRow:
    """One measurement of a benchmark. ``precision`` is what was executed; nan: not measured.

    ``images_per_s`` is the median over turns and ``quartiles`` their spread; the percentiles are over ``n``
    single waits, in milliseconds: for a batch, for an image end to end, for a whole process at start-up.
    """

    model: str
    what: str
    engine: str
    precision: Precision
    batch: int
    streams: int
    threads: int
    images_per_s: float
    quartiles: tuple[float, float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    peak_share: float                              # of ``Peak`` in that precision
    rss_mb: float                                  # peak of a fresh process that does only this
    n: int
    note: str = ""
    parts_ms: dict[str, float] = field(default_factory=dict)  # of a start: import, open, first answer
    pixels: int = 0                                # a side of the network's input


@dataclass(frozen=True)
class LayerTime:
    """One layer as the runtime executed it; fused ones go by the name of the first. Mean of several runs."""

    name: str
    kind: str                                      # Convolution, Pooling, …
    executed: str                                  # the kernel: brgconv_avx512_amx_1x1_I8, …
    ms: float


@dataclass(frozen=True)
class Profile:
    """The time of one model by layer for one batch, and by stage for one image."""

    model: str
    precision: Precision
    batch: int
    layers: tuple[LayerTime, ...]
    stages_ms: dict[str, float] = field(default_factory=dict)  # one decode thread; empty without images


@dataclass(frozen=True)
class Tuning:
    """The fastest setting found for one model on one machine."""

    batch: int
    streams: int
    threads: int
    images_per_s: float
    model: str = ""
    date: str = ""


@dataclass(frozen=True)
class BenchReport:
    """Everything one run measured, side by side. Only ratios within one report mean anything."""

    machine: dict[str, object]
    conditions: dict[str, object]
    peak: Peak
    rows: tuple[BenchRow, ...]
    profiles: tuple[Profile, ...] = ()
    tuned: tuple[Tuning, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)     # candidate -> why it could not take part
    skipped_files: Skipped = field(default_factory=Skipped)

    def __repr__(self) -> str:
        rows = (f"{row.model} {row.what} {row.precision}: {row.images_per_s:.1f} images/s" for row in self.rows)
        return f"<BenchReport {'; '.join(rows)}>"
