"""Values that cross folders: frozen, without behaviour beyond arithmetic on themselves.

Fractions are fractions (0.785) here; only ``report`` turns them into percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

RGB = tuple[float, float, float]
Interpolation = Literal["bilinear", "bicubic"]
ResizeMode = Literal["shortest", "squash"]
Exif = Literal["ignore", "transpose"]
Precision = Literal["f32", "bf16", "f16", "int8"]
Estimator = Literal["mean", "max", "percentile", "mse"]
Answer = TypeVar("Answer")

# Of RGB values in [0, 1]; the statistics every published ImageNet weight set here was trained with.
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """How one set of weights wants to see a picture.

    Resize (with Pillow's antialiased filter), then cut the centre square. ``mean`` and ``std`` are
    of RGB values in [0, 1] and live inside the graph; no caller ever normalises.
    """

    resize: int                                    # pixels: shorter side, or both sides with "squash"
    crop: int                                      # side of the centre square, pixels
    interpolation: Interpolation = "bilinear"
    mode: ResizeMode = "shortest"                  # "shortest" keeps the aspect ratio
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD

    def at(self, side: int) -> Preprocess:
        """The same share of a picture, shown at another resolution: ``side`` pixels (0: as it is)."""
        return replace(self, resize=round(self.resize * side / self.crop), crop=side) if side else self


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody else measured and printed. Fractions of 1."""

    top1: float
    top5: float
    source: str                                    # who printed it, and where


@dataclass(frozen=True)
class Labels:
    """The classes of a network by index. Names may repeat (ImageNet has two cranes); ids never do."""

    names: tuple[str, ...]
    ids: tuple[str, ...] = ()                      # WordNet ids for ImageNet; empty where there are none


@dataclass(frozen=True, eq=False)
class Item:
    """One picture to look at, with its class index where that is known.

    ``source`` is a file, encoded bytes, or decoded RGB uint8 [H, W, 3]; ``path`` names it in reports.
    """

    path: str
    source: Path | bytes | NDArray[np.uint8]
    label: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive items of a run, in order: the readable ones as pixels, the others as failures.

    ``pixels`` is RGB uint8 [N, S, S, 3]; ``items`` are its N items. N may be 0 when all failed. ``failed``
    holds the places of ``failures`` among all.
    """

    pixels: NDArray[np.uint8]
    items: tuple[Item, ...]
    failures: tuple[Failure, ...] = ()
    failed: tuple[int, ...] = ()

    def in_order(self, answers: Sequence[Answer]) -> Iterator[Answer | Failure]:
        """The N ``answers`` with the failures back at their places."""
        good, bad = iter(answers), dict(zip(self.failed, self.failures, strict=True))
        for place in range(len(answers) + len(bad)):
            yield bad[place] if place in bad else next(good)


@dataclass(frozen=True)
class LabelScore:
    """One class of an answer. ``probability`` is softmax over all classes, in [0, 1]."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The k likeliest classes of one picture, likeliest first (ties: lower index first)."""

    path: str
    predictions: tuple[LabelScore, ...]


@dataclass(frozen=True)
class Failure:
    """One picture that could not be read: the run goes on, the report says so."""

    path: str
    error: str
    hint: str = ""


@dataclass(frozen=True)
class EngineInfo:
    """What actually ran: runtime and version, device, the precision executed, threads."""

    runtime: str
    version: str
    device: str
    precision: Precision
    threads: int
    streams: int = 1                               # batches computed side by side


@dataclass(frozen=True)
class Measured:
    """An accuracy that we measured on a bundle. ``data`` names the set, n its size."""

    data: str
    n: int
    correct1: int
    correct5: int
    engine: str
    precision: str


@dataclass(frozen=True)
class QuantiseSettings:
    """How a float32 graph becomes an int8 one.

    ``estimator`` finds the range of an activation: the mean over pictures of each one's smallest and largest
    value, those of all pictures (max), the mean of the 0.01 % quantiles, or the range with the least squared
    rounding error (mse). ``bias_correction`` "fast" is NNCF's. ``preset`` "mixed" lets the range of a signed
    activation lie around another point than zero. The layers in ``kept`` stay in float32.
    """

    samples: int = 300                             # calibration pictures at most
    estimator: Estimator = "mse"
    bias_correction: Literal["fast", "none"] = "none"
    preset: Literal["performance", "mixed"] = "performance"
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateReport:
    """A compiled model against its float32 original, on the same pictures. Fractions of 1.

    Of kind "accuracy", ``drop`` is top-1 lost (negative: gained), ``interval95`` its interval for paired shares,
    ``p_value`` McNemar's exact one, and ``limit`` the drop allowed. Without labels the kind is "agreement", which
    is not accuracy: those fields are None, and ``limit`` is the agreement demanded. ``limit`` None means that no
    gate was asked for. ``mean_kl`` is the Kullback-Leibler divergence of the answers in nats.
    """

    data: str
    n: int
    failures: int
    top1_reference: float | None
    top1: float | None
    top5_reference: float | None
    top5: float | None
    drop: float | None
    interval95: tuple[float, float] | None
    p_value: float | None
    agreement: float                               # share of pictures with the same likeliest class
    mean_kl: float
    limit: float | None
    passed: bool                                   # within the limit, or no limit
    engine: EngineInfo
    kind: Literal["accuracy", "agreement"] = "accuracy"


@dataclass(frozen=True)
class Deviation:
    """How far one engine's logits are from the float32 graph's: root mean square over the logits' spread."""

    engine: str
    batch: int
    relative: float


@dataclass(frozen=True)
class LayerLoss:
    """What it costs to quantise one layer alone, its weight and what it reads, all others in float32."""

    name: str
    operator: str                                  # ONNX's: Conv, Gemm, Add, …
    shape: tuple[int, ...]                         # of its weight: [c_out, c_in, k, k] or [classes, features]; or ()
    macs: float                                    # its share of the network's
    mean_kl: float                                 # of the answers, nats
    relative: float                                # of the logits, as in ``Deviation``


@dataclass(frozen=True)
class Trial:
    """One way of quantising that was tried. ``gate`` None: its graph did not pass the verification."""

    settings: QuantiseSettings
    gate: GateReport | None
    verified: tuple[Deviation, ...] = ()
    speedup: float | None = None                   # over float32, side by side on the spot
    seconds: float = 0.0


@dataclass(frozen=True)
class CompileReport:
    """What ``compile`` made. ``verified`` holds one deviation an engine and batch size, all within limits.

    ``layers`` and ``trials`` are empty where neither was asked for; ``finished`` is False when a search ran out
    of time and would go on.
    """

    bundle: str
    precision: Literal["fp32", "fp16", "int8"]
    size_bytes: int                                # of the graph
    size_bytes_reference: int                      # of the float32 graph
    verified: tuple[Deviation, ...]
    calibration: int                               # pictures used
    gate: GateReport | None
    quantised: QuantiseSettings | None = None
    layers: tuple[LayerLoss, ...] = ()
    trials: tuple[Trial, ...] = ()
    finished: bool = True


@dataclass(frozen=True)
class ModelCard:
    """Who a model is: everything a bundle knows of itself besides the graph and the labels."""

    name: str                                      # "wide_resnet50_2.tv_in1k", "wrn_16_4.cifar10"
    architecture: str                              # a name of architectures.ARCHITECTURES
    classes: int
    preprocess: Preprocess
    precision: Literal["fp32", "fp16", "int8"]     # of the stored weights
    licence: str
    weights_source: str = ""                       # URL or file the tensors came from
    weights_sha256: str = ""
    labels_name: str = ""                          # "imagenet", "cifar10", or empty for the user's own
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    made_with: dict[str, str] = field(default_factory=dict)   # tool -> version
    notes: dict[str, str] = field(default_factory=dict)       # free text: recipe, seed, time
    calibration: tuple[str, ...] = ()              # pictures that set the ranges of an int8 graph
    quantised: QuantiseSettings | None = None      # how an int8 graph was made
    gate: GateReport | None = None
    files: dict[str, str] = field(default_factory=dict)       # file name -> sha256
    schema: int = 1


@dataclass(frozen=True)
class ModelInfo:
    """What can be told of a model without running it. Counts are for one picture of ``preprocess.crop``."""

    name: str
    architecture: str
    parameters: int
    macs: int                                      # of convolutions and classifier
    thop_macs: int                                 # what the tool thop counts; see Architecture.thop_macs
    classes: int
    preprocess: Preprocess
    labels: str                                    # name of the label list; empty where there is none
    licence: str
    where: Literal["here", "to download", "to train"]
    published: tuple[Published, ...] = ()
    measured: tuple[Measured, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """Two operations a multiply-accumulate."""
        return 2 * self.macs


@dataclass(frozen=True)
class EvalReport:
    """Counts of one evaluation. Reports over disjoint pictures add up exactly with ``+``."""

    model: str
    data: str
    engine: EngineInfo
    n: int                                         # pictures answered; failures are not among them
    correct1: int
    correct5: int
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: EvalReport) -> EvalReport:
        return EvalReport(
            model=self.model,
            data=self.data,
            engine=self.engine,
            n=self.n + other.n,
            correct1=self.correct1 + other.correct1,
            correct5=self.correct5 + other.correct5,
            failures=self.failures + other.failures,
            seconds=self.seconds + other.seconds,
        )

    @property
    def top1(self) -> float:
        """Share of answered pictures whose likeliest class is right; nan when there are none."""
        return self.correct1 / self.n if self.n else math.nan

    @property
    def top5(self) -> float:
        """Share of answered pictures whose five likeliest classes hold the right one."""
        return self.correct5 / self.n if self.n else math.nan

    @property
    def interval95(self) -> tuple[float, float]:
        """Wilson's 95 % score interval of ``top1``."""
        return wilson_interval(self.correct1, self.n)


@dataclass(frozen=True)
class Peak:
    """What the machine itself can do: G operations a second of a large matrix product, 2 a multiply-accumulate.

    None where the CPU does not execute that precision.
    """

    f32: float | None = None
    bf16: float | None = None
    int8: float | None = None


@dataclass(frozen=True)
class Choice:
    """One way to run published weights on a machine. ``top1`` is a fraction of 1, as published for float32.

    For int8 the loss that the gate allows is taken off. ``latency_ms`` is of one picture, the network alone.
    """

    name: str
    pixels: int
    precision: Literal["f32", "bf16", "int8"]
    top1: float
    images_per_s: float
    latency_ms: float
    speed: Literal["measured", "predicted"]
    source: str                                    # who printed the accuracy
    best: bool = False                             # no other is as accurate and as fast
    fits: bool = False                             # it meets what was asked


@dataclass(frozen=True)
class BenchRow:
    """One contestant of a benchmark. ``precision`` is what was executed; nan: not measured.

    ``images_per_s`` is the median over turns and ``quartiles`` their spread; the percentiles are over ``n``
    single waits, in milliseconds: for a batch, for a picture end to end, for a whole process at start-up.
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


@dataclass(frozen=True)
class LayerTime:
    """One layer as the runtime executed it; fused ones go by the name of the first. Mean of several runs."""

    name: str
    kind: str                                      # what it is: Convolution, Pooling, …
    executed: str                                  # by which kernel: brgconv_avx512_amx_1x1_I8, …
    ms: float


@dataclass(frozen=True)
class Profile:
    """Where the time of one model goes: by layer for one batch, by stage for one picture."""

    model: str
    precision: Precision
    batch: int
    layers: tuple[LayerTime, ...]
    stages_ms: dict[str, float] = field(default_factory=dict)  # one decode thread; empty without pictures


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
    skipped: dict[str, str] = field(default_factory=dict)     # contestant -> why it could not take part


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval for a share (E. B. Wilson, 1927); z = 1.96 gives 95 %."""
    if n == 0:
        return (0.0, 1.0)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (max(0.0, centre - half), min(1.0, centre + half))
