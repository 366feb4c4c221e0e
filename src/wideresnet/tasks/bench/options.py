"""Settings of a benchmark and the candidates that they select. Imports no runtime."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from wideresnet.engines import ENGINES, EngineOptions
from wideresnet.errors import ConfigError, check_choice
from wideresnet.precision import StoredPrecision, precision_name

Measurement = Literal["engine", "end-to-end", "latency", "startup"]
BenchPrecision = Literal["f32", "bf16", "int8"]


@dataclass(frozen=True)
class Entry:
    """One candidate: a measurement of a model in a runtime, with its settings.

    ``streams`` and ``threads`` 0 leave the choice to the engine. ``files``: the input is an image file, not pixels.
    """

    model: str
    measurement: Measurement
    engine: str
    precision: BenchPrecision
    batch: int
    streams: int = 0
    threads: int = 0
    sync: bool = False
    files: bool = False
    reduced: bool = False                          # decode large JPEGs at a fraction of their size

    @property
    def name(self) -> str:
        """The name in messages: ``wrn_16_4.cifar10: engine, openvino int8, batch 1``."""
        suffix = ", fast decode" if self.reduced else ""
        return f"{self.model}: {self.measurement}, {self.engine} {self.precision}, batch {self.batch}{suffix}"


@dataclass(frozen=True)
class BenchSettings:
    """Settings of a benchmark: the product of the tuples. No ``precisions``: the one that a model is stored in.

    A turn lasts ``seconds / rounds``, or ``iterations / rounds`` batches (end to end: images) if ``iterations`` is not
    0. ``reduced``: end to end also with large JPEGs decoded at a fraction of their size. Raises ConfigError for
    unknown names and numbers out of range.
    """

    measurements: tuple[Measurement, ...] = ("engine",)
    engines: tuple[str, ...] = ("openvino",)
    precisions: tuple[BenchPrecision, ...] = ()
    batches: tuple[int, ...] = (8,)
    streams: tuple[int, ...] = (0,)
    threads: tuple[int, ...] = (0,)
    sync: bool = False
    rounds: int = 5
    seconds: float = 10.0
    iterations: int = 0
    data: Path | None = None
    profile: bool = False
    tune: bool = False
    reduced: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "precisions", tuple(map(precision_name, self.precisions)))
        kinds = {"measurement": get_args(Measurement), "engine": ENGINES, "precision": get_args(BenchPrecision)}
        for kind, choices in kinds.items():
            for name in getattr(self, f"{kind}s"):
                check_choice(kind, name, choices)
        if not all((self.engines, self.batches, self.streams, self.threads, self.measurements or self.tune)):
            raise ConfigError("nothing is measured: a list of settings is empty", hint="leave it out")
        if min(self.batches) < 1 or min(*self.streams, *self.threads, self.iterations) < 0:
            raise ConfigError("a batch is at least 1; streams, threads and iterations are at least 0")
        if self.rounds < 1 or not 0 < self.seconds < math.inf:
            raise ConfigError("rounds and seconds must be more than 0, and finite")
        if "end-to-end" in self.measurements and self.data is None:
            raise ConfigError("end-to-end is measured on image files", hint="give a folder of them with --data")


def unused_settings(settings: BenchSettings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield reasons with the fields that have no effect on any of the measurements."""
    selected, single = set(settings.measurements), {"batches": (1,), "streams": (0,)}
    fixed = "engines", "precisions", "batches", "streams", "threads", "sync", "profile", "reduced", "data"
    if not selected:
        yield "with --tune alone, which has a grid of its own", fixed
    if not selected & {"engine", "end-to-end"}:
        names = (name for name, value in single.items() if getattr(settings, name) != value)
        yield f"on {' and '.join(sorted(selected))}: one image at a time", tuple(names)
    if "engine" not in selected:
        yield "without --what engine", ("sync",)
    if "end-to-end" not in selected:
        yield "without --what end-to-end", ("reduced",)
    if selected == {"startup"} and not settings.tune:
        yield "on startup, once a round", ("seconds", "iterations")
    if settings.iterations > 0:
        yield "beside --iterations", ("seconds",)
    if "openvino" not in settings.engines:
        yield "without the engine openvino", ("profile", "streams")


def check_settings(settings: BenchSettings) -> None:
    """Raise ConfigError if a field that is not the default has no effect on any of the measurements."""
    for reason, names in unused_settings(settings):
        if listed := ", ".join(name for name in names if getattr(settings, name) != getattr(BenchSettings, name)):
            raise ConfigError(f"no effect of {listed} {reason}", hint=f"leave out {listed}")


def entries(model: str, stored: StoredPrecision, settings: BenchSettings) -> list[Entry]:
    """Return every candidate for one model, without repetitions."""
    precisions = settings.precisions or (("int8",) if stored == "int8" else ("f32",))
    selected: list[Entry] = []
    for measurement, engine, precision, batch, streams, threads in product(
        settings.measurements, settings.engines, precisions, settings.batches, settings.streams, settings.threads
    ):
        streams = streams if engine == "openvino" else 0     # the only engine with streams
        entry = Entry(model, measurement, engine, precision, batch, streams, threads, settings.sync)
        selected += _variants(entry, settings)
    return list(dict.fromkeys(selected))


def _variants(entry: Entry, settings: BenchSettings) -> Iterator[Entry]:
    """Yield the entry with the settings that its measurement fixes; with files, latency also from a file's bytes."""
    match entry.measurement:
        case "end-to-end":
            yield replace(entry, files=True, sync=False)
            if settings.reduced:
                yield replace(entry, files=True, sync=False, reduced=True)
        case "startup":
            yield replace(entry, batch=1, streams=0, sync=True, files=True)
        case "latency":
            single = replace(entry, batch=1, streams=0, sync=True)
            yield single
            if settings.data:
                yield replace(single, files=True)
        case "engine":
            yield entry


def options_of(entry: Entry, cache: Path | None = None) -> EngineOptions:
    """Return the engine options of an entry. int8 is in the graph; its float layers stay float32."""
    precision: Literal["f32", "bf16"] = "bf16" if entry.precision == "bf16" else "f32"
    hint: Literal["latency", "throughput"] = "latency" if entry.sync else "throughput"
    return EngineOptions(precision, entry.threads, hint, entry.streams, cache)
