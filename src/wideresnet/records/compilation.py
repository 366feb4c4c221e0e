"""A model compiled to another precision, and its comparison with the original."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from wideresnet.precision import StoredPrecision, precision_name
from wideresnet.records.accuracy import EngineInfo, images_to_show, wilson_interval
from wideresnet.records.comparison import images_to_exclude
from wideresnet.records.images import Failure
from wideresnet.records.skipped import Skipped

Verdict = Literal["passed", "failed", "undecided", "none"]
Estimator = Literal["mean", "max", "percentile", "mse"]


@dataclass(frozen=True)
class QuantiseSettings:
    """Settings of the quantisation of a float32 graph to int8.

    ``estimator`` finds the range of an activation: the mean over images of each one's smallest and largest
    value, those of all images (max), the mean of the 0.01 % quantiles, or the range with the least squared
    rounding error (mse). ``bias_correction`` "fast" is NNCF's. ``preset`` "mixed" lets the range of a signed
    activation lie around another point than zero. The layers in ``kept`` stay in float32.
    """

    samples: int = 300                             # calibration images at most; of what was made: those used
    estimator: Estimator = "mse"
    bias_correction: Literal["fast", "none"] = "none"
    preset: Literal["performance", "mixed"] = "performance"
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateReport:
    """A compiled model against its float32 original, on the same images. Fractions of 1.

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
    agreement: float                               # fraction of images with the same likeliest class
    mean_kl: float
    limit: float | None
    passed: bool                                   # no loss above the limit was seen; on a card: ``verdict``
    engine: EngineInfo
    kind: Literal["accuracy", "agreement"] = "accuracy"
    warnings: tuple[str, ...] = ()                 # what makes the labels doubtful
    flips: int = 0                                 # images that only one of both got right

    @property
    def loss(self) -> float:
        """Top-1 lost, or the fraction of other answers."""
        return 1 - self.agreement if self.drop is None else self.drop

    @property
    def accepted(self) -> float:
        """The largest ``loss`` within the limit; 1 without one."""
        return 1.0 if self.limit is None else 1 - self.limit if self.drop is None else self.limit

    @property
    def loss_interval(self) -> tuple[float, float]:
        """The 95 % interval of ``loss``."""
        low, high = wilson_interval(round(self.agreement * self.n), self.n)
        return self.interval95 or (1 - high, 1 - low)

    @property
    def loss_bound(self) -> float:
        """The end of ``loss_interval``."""
        return self.loss_interval[1]

    @property
    def verdict(self) -> Verdict:
        """The conclusion from the figures. Undecided: within the limit, but the 95 % interval reaches beyond it."""
        if self.limit is None:
            return "none"
        accepted = self.accepted + 1e-9            # rounding: 1 - 0.95 is not 0.05
        if self.loss > accepted:
            return "failed"
        return "passed" if self.loss_bound <= accepted else "undecided"

    @property
    def images_needed(self) -> int | None:
        """Images that could decide an undecided gate at the same loss; None if the gate is decided, or none could."""
        if self.limit is None or self.verdict != "undecided":
            return None
        if self.drop is None:
            return images_to_show(self.limit, self.agreement)
        return images_to_exclude(self.limit, self.drop, self.flips / self.n)


@dataclass(frozen=True)
class Deviation:
    """Relative difference of one engine's logits from the float32 graph's: RMS over the logits' standard deviation."""

    engine: str
    batch: int
    relative: float


@dataclass(frozen=True)
class LayerLoss:
    """The cost of quantising one layer alone, its weight and its input, all others in float32."""

    name: str
    operator: str                                  # ONNX's: Conv, Gemm, Add, …
    shape: tuple[int, ...]                         # of its weight: [c_out, c_in, k, k] or [classes, features]; or ()
    macs: float                                    # fraction of the network's
    mean_kl: float                                 # of the answers, nats
    relative: float                                # of the logits, as in ``Deviation``
    n: int = 0                                     # images it was measured on; 0: notes of an older version


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
    """The result of ``wrn compile``. ``verified`` holds one deviation an engine and batch size, all within limits.

    ``layers`` and ``trials`` are empty where neither was asked for; ``finished`` is False when a search ran out
    of time and would go on. ``failures`` are of calibration and gate; ``notes`` say where these are not as asked.
    """

    bundle: str
    precision: StoredPrecision
    size_bytes: int                                # of the graph
    size_bytes_reference: int                      # of the float32 graph
    verified: tuple[Deviation, ...]
    calibration: int                               # images used
    gate: GateReport | None
    quantised: QuantiseSettings | None = None
    layers: tuple[LayerLoss, ...] = ()
    trials: tuple[Trial, ...] = ()
    finished: bool = True
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()                  # of the model, as on its card
    skipped: Skipped = field(default_factory=Skipped)        # where images were looked for

    def __repr__(self) -> str:
        gate = f", gate {self.gate.verdict} on {self.gate.n:,} images" if self.gate else ""
        return f"<CompileReport {self.bundle}: {precision_name(self.precision)}, {self.size_bytes / 1e6:.1f} MB{gate}>"
