"""Recommend published weights for this machine: accuracy and speed by name, input size and precision.

Accuracy is as published, of a cascade as measured on the images that certified it. Speed is measured if there is a
benchmark of the model; otherwise it is predicted from multiply-accumulates, the peak of the machine, and the fraction
of the peak that such a network reaches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from wideresnet.architectures import get_architecture
from wideresnet.bundle.files import first_fault
from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.machine import available_cpus, cpu_name
from wideresnet.pipes import read_file
from wideresnet.records import Choice, ModelCard, Peak
from wideresnet.tasks.bench.peak import open_gemms
from wideresnet.weights.catalogue import CATALOGUE, Weights

# Fraction of the peak without a benchmark: below that of wide_resnet50_2 (benchmarks/results).
PEAK_FRACTION = 0.9
# Top-1 that an int8 model may have lost, as the gate of 'wrn compile' allows by default.
INT8_LOSS = 0.002
ROUNDING = 1e-9                                    # of a ratio: 82.51 / 100 is not 0.8251
PRECISIONS: tuple[Literal["f32", "bf16", "int8"], ...] = ("f32", "bf16", "int8")


@dataclass(frozen=True)
class Requirements:
    """Required speed and accuracy; None: no requirement. ``accuracy`` is top-1, a fraction."""

    latency_ms: float | None = None                # of one image, network alone
    images_per_s: float | None = None
    accuracy: float | None = None

    def shortfall(self, choice: Choice) -> float:
        """Return how far ``choice`` is from the requirement that it misses most: a log ratio, at most 0 if it fits."""
        ratios = [
            1.0 if self.latency_ms is None else choice.latency_ms / max(self.latency_ms, 1e-6),
            1.0 if self.images_per_s is None else self.images_per_s / choice.images_per_s,
            1.0 if self.accuracy is None else (1 - choice.top1) / max(1 - self.accuracy, 1e-6),     # of the errors
        ]
        return math.log(max(ratios))


@dataclass(frozen=True)
class _Row:
    """The fields of a benchmark's row that a recommendation uses; see ``BenchRow``. Older rows have no ``pixels``."""

    model: str
    what: str
    engine: str
    precision: str
    threads: int
    images_per_s: float | None
    peak_share: float | None
    pixels: int = 0


@dataclass(frozen=True)
class _Benchmark:
    """The parts of a document of ``wrn bench -o`` that a recommendation uses."""

    rows: list[_Row]
    machine: dict[str, object]


def measure_peak(threads: int = 0) -> Peak:
    """Measure the machine's G operations/s in each precision: the best of three short blocks."""
    gemms = open_gemms(threads or available_cpus())
    return Peak(**{precision: max(run() for _ in range(3)) for precision, run in gemms.items()})


def recommend(
    requirements: Requirements, peak: Peak, benchmark: Path | None = None, threads: int = 0,
    cascades: Mapping[str, ModelCard] = MappingProxyType({}),
) -> list[Choice]:  # fmt: skip
    """Return every published set of weights in every precision of this machine, and ``cascades``, most accurate first.

    ``best``: no other is both as accurate and as fast; ``fits``: it meets the requirements. ``benchmark`` is a document
    of ``wrn bench -o``, of which only rows with ``threads`` (0: every CPU of this process) count. Raises ConfigError
    if it cannot be read, is of another CPU or has no such row, and for other cascades than of ImageNet's classes,
    certified with labels.
    """
    threads = threads or available_cpus()
    names = *(weights.architecture for weights in CATALOGUE.values()), *(card.name for card in cascades.values())
    rows = _usable_rows(benchmark, names, threads) if benchmark else []
    choices = [choice for weights in CATALOGUE.values() for choice in _choices(weights, peak, rows)]
    choices += [_cascade(name, card, peak, rows, threads) for name, card in cascades.items()]
    marked = [
        replace(choice, best=_is_best(choice, choices), fits=requirements.shortfall(choice) <= ROUNDING)
        for choice in choices
    ]
    return sorted(marked, key=lambda choice: (-choice.top1, -choice.images_per_s))


def _usable_rows(benchmark: Path, names: tuple[str, ...], threads: int) -> list[_Row]:
    """Return the rows of OpenVINO, of models that begin with ``names``, in a document of ``wrn bench``."""
    rows = [row for row in read_rows(benchmark) if row.threads == threads and row.model.startswith(names)]
    if not rows:
        hint = f"wrn bench -m wide_resnet50_2 --random-weights --what engine --what latency --threads {threads} -o FILE"
        problem = f"{benchmark} has no engine or latency row of openvino with {threads} threads for these models"
        raise ConfigError(problem, hint)
    return rows


def read_rows(benchmark: Path) -> list[_Row]:
    """Read the rows of OpenVINO in a document of ``wrn bench``; shares are of the peak of a row's own threads.

    The document's are of the peak of its most threads. Raises ConfigError.
    """
    with os_errors_as(ConfigError, f"cannot read {benchmark}"):
        data = read_file(benchmark)
    try:
        document = TypeAdapter(_Benchmark).validate_json(data)
    except ValidationError as error:
        problem = f"{benchmark} is not a document of 'wrn bench': {first_fault(error)}"
        raise ConfigError(problem, "write one with 'wrn bench -o'") from error
    if (cpu := document.machine.get("cpu")) != cpu_name():
        hint = "measure on this machine with 'wrn bench -o'"
        raise ConfigError(f"{benchmark} was measured on {cpu}, this is {cpu_name()}", hint)
    most = max((row.threads for row in document.rows), default=1)
    return [
        replace(row, peak_share=row.peak_share and row.peak_share * most / max(row.threads, 1))
        for row in document.rows
        if row.engine == "openvino" and row.what in ("engine", "latency")
    ]


def _choices(weights: Weights, peak: Peak, rows: Sequence[_Row]) -> Iterator[Choice]:
    crop, published = weights.preprocess.crop, weights.published[0]
    macs = get_architecture(weights.architecture).macs(crop)
    for precision in PRECISIONS:
        if (limit := getattr(peak, precision)) is None:
            continue
        mine = [row for row in rows if row.precision == precision and row.model.startswith(weights.architecture)]
        exact = [r for r in mine if (r.model.removesuffix("-int8"), r.pixels or crop) == (weights.name, crop)]
        rates = {kind: _rate(kind, exact, mine, 1e9 * limit / (2 * macs)) for kind in ("engine", "latency")}
        yield Choice(
            name=weights.name,
            pixels=crop,
            precision=precision,
            top1=published.top1 - (INT8_LOSS if precision == "int8" else 0.0),
            images_per_s=rates["engine"][0],
            latency_ms=1e3 / rates["latency"][0],
            speed=rates["engine"][1],
            latency=rates["latency"][1],
            source=published.source,
        )


def _cascade(name: str, card: ModelCard, peak: Peak, rows: Sequence[_Row], threads: int) -> Choice:
    """Return a cascade as it was certified. Its speed is that of a benchmark, of its card, or predicted."""
    if not (cascade := card.cascade) or not cascade.labelled or card.labels_name != "imagenet":
        hint = "list cascades of ImageNet's classes that 'wrn cascade' certified with labelled images"
        raise ConfigError(f"the accuracy of {name} cannot be compared with that of the published weights", hint)
    own = [row for row in rows if row.model == card.name and row.precision == cascade.precision]
    limit = 1e9 * (getattr(peak, cascade.precision, None) or peak.f32 or math.nan) / (2 * cascade.point.macs)
    (rate, speed), (lone, latency) = (_rate(kind, own, own, limit) for kind in ("engine", "latency"))
    if speed == "predicted" and (turns := cascade.speed) and turns.cpu == cpu_name() and turns.threads == threads:
        rate, speed = median(turns.cascade), "measured"
    return Choice(
        name, card.preprocess.crop, cascade.precision, cascade.point.top1, rate, 1e3 / lone, speed, cascade.data,
        latency=latency, is_cascade=True,
    )  # fmt: skip


def _rate(
    measurement: str, exact: Sequence[_Row], similar: Sequence[_Row], limit: float
) -> tuple[float, Literal["measured", "predicted"]]:
    """Return images/s: the model's own, or ``limit`` times the fraction of the peak of similar models."""
    rates = [row.images_per_s for row in exact if row.what == measurement and row.images_per_s]
    if rates:
        return max(rates), "measured"
    fractions = [row.peak_share for row in similar if row.what == measurement and row.peak_share]
    return limit * (max(fractions) if fractions else PEAK_FRACTION), "predicted"


def _is_best(choice: Choice, choices: Sequence[Choice]) -> bool:
    """Return whether ``choice`` is Pareto optimal in accuracy and speed."""
    return not any(
        rival.top1 >= choice.top1
        and rival.images_per_s >= choice.images_per_s
        and (rival.top1, rival.images_per_s) != (choice.top1, choice.images_per_s)
        for rival in choices
    )
