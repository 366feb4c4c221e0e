"""What can be asked of a benchmark, and who takes part for it. Imports no runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal, get_args

from wideresnet.engines import ENGINES, EngineOptions
from wideresnet.errors import ConfigError, did_you_mean

What = Literal["engine", "end-to-end", "latency", "startup"]
Asked = Literal["f32", "bf16", "int8"]

STOCK = "openvino-stock"                           # OpenVINO's own loop
PLAIN_SCRIPT = "plain-script"                      # DataLoader and eager torch
EAGER, EAGER_LAST, COMPILED = "torch-eager", "torch-eager-channels-last", "torch-compile"

# Baselines: what is measured -> (name, precision) of those that can do it; int8 only where it is asked for.
BASELINES: dict[What, tuple[tuple[str, Asked], ...]] = {
    "engine": (
        (STOCK, "bf16"), (STOCK, "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"),
        (EAGER, "f32"), (EAGER_LAST, "f32"), (COMPILED, "f32"), (COMPILED, "bf16"),
    ),
    "latency": (
        (STOCK, "bf16"), (STOCK, "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"),
        (EAGER, "f32"), (COMPILED, "f32"), (COMPILED, "bf16"),
    ),
    "end-to-end": ((PLAIN_SCRIPT, "f32"),),
    "startup": (),
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One contestant: what is measured, of which model, in which runtime, with which settings.

    ``streams`` and ``threads`` 0 leave the choice to the engine. ``files``: from an image file on, not pixels.
    """

    model: str
    what: What
    engine: str
    precision: Asked
    batch: int
    streams: int = 0
    threads: int = 0
    sync: bool = False
    files: bool = False
    reduced: bool = False                          # large JPEGs decoded at a part of their size

    @property
    def name(self) -> str:
        """For people: ``wrn_16_4.cifar10: engine, openvino int8, batch 1``."""
        how = ", fast decode" if self.reduced else ""
        return f"{self.model}: {self.what}, {self.engine} {self.precision}, batch {self.batch}{how}"


@dataclass(frozen=True)
class BenchSettings:
    """What to measure. The tuples are crossed with each other; precisions empty: the one a model is stored in.

    A turn lasts ``seconds / rounds``, or ``iterations / rounds`` batches (end to end: images) where
    ``iterations`` is not 0. ``reduced``: end to end also with large JPEGs decoded at a part of their size.
    Raises ConfigError for what does not exist.
    """

    what: tuple[What, ...] = ("engine",)
    engines: tuple[str, ...] = ("openvino",)
    precisions: tuple[Asked, ...] = ()
    batches: tuple[int, ...] = (8,)
    streams: tuple[int, ...] = (0,)
    threads: tuple[int, ...] = (0,)
    sync: bool = False
    rounds: int = 5
    seconds: float = 10.0
    iterations: int = 0
    data: Path | None = None
    baselines: bool = False
    profile: bool = False
    tune: bool = False
    reduced: bool = False

    def __post_init__(self) -> None:
        for names, known, kind in (
            (self.what, get_args(What), "measurement"),
            (self.engines, ENGINES, "engine"),
            (self.precisions, get_args(Asked), "precision"),
        ):
            for name in names:
                if name not in known:
                    hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
                    raise ConfigError(f"no {kind} called {name!r}", hint=hint)
        if min(self.batches) < 1 or min(*self.streams, *self.threads, self.iterations) < 0:
            raise ConfigError("a batch is at least 1; streams, threads and iterations are at least 0")
        if self.rounds < 1 or not self.seconds > 0:
            raise ConfigError("rounds and seconds are more than 0")
        if "end-to-end" in self.what and self.data is None:
            raise ConfigError("end-to-end is measured on image files", hint="give a folder of them with --data")


def entries(model: str, stored: Literal["fp32", "fp16", "int8"], settings: BenchSettings) -> list[Entry]:
    """Every contestant for one model, each once."""
    precisions = settings.precisions or (("int8",) if stored == "int8" else ("f32",))
    found: list[Entry] = []
    for what in settings.what:
        pairs = list(product(settings.engines, precisions))
        if settings.baselines:
            pairs += [pair for pair in BASELINES[what] if pair[1] != "int8" or "int8" in precisions]
        for (engine, precision), batch, streams, threads in product(
            pairs, settings.batches, settings.streams, settings.threads
        ):
            streams = streams if engine in ("openvino", STOCK) else 0    # the others have no such thing
            entry = Entry(model, what, engine, precision, batch, streams, threads, settings.sync)
            found += _as_measured(entry, settings)
    return list(dict.fromkeys(found))


def _as_measured(entry: Entry, settings: BenchSettings) -> Iterator[Entry]:
    """The entry with what its kind of measurement fixes; latency is also that of a file where there are files."""
    match entry.what:
        case "end-to-end":
            yield replace(entry, files=True, sync=False)
            if settings.reduced and entry.engine != PLAIN_SCRIPT:
                yield replace(entry, files=True, sync=False, reduced=True)
        case "startup":
            yield replace(entry, batch=1, streams=0, sync=True, files=True)
        case "latency":
            alone = replace(entry, batch=1, streams=0, sync=True)
            yield alone
            if entry.engine in ENGINES and settings.data:
                yield replace(alone, files=True)
        case "engine":
            yield replace(entry, batch=1, sync=False) if entry.engine == STOCK else entry


def options_of(entry: Entry, cache: Path | None = None) -> EngineOptions:
    """How its engine is asked for. int8 is in the graph; what it leaves in floats stays float32."""
    precision: Literal["f32", "bf16"] = "bf16" if entry.precision == "bf16" else "f32"
    hint: Literal["latency", "throughput"] = "latency" if entry.sync else "throughput"
    return EngineOptions(precision, entry.threads, hint, entry.streams, cache)
