"""A model in another precision: made, verified against its float32 graph, and held to a gate."""

from __future__ import annotations

import hashlib
import importlib.util
import statistics
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, write_bundle
from wideresnet.bundle.derive import read_weights, rebuild
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines import Engine, open_engine
from wideresnet.errors import BundleError, ConfigError, DataError
from wideresnet.graph.quantise import DEFAULTS, keep_float, quantise
from wideresnet.images.loader import load_batches
from wideresnet.images.noise import noise
from wideresnet.logits import deviation
from wideresnet.machine import available_cpus
from wideresnet.records import (
    CompileReport,
    Deviation,
    Failure,
    GateReport,
    Item,
    LayerLoss,
    Measured,
    ModelCard,
    Progress,
    QuantiseSettings,
    Trial,
    by_path,
)
from wideresnet.tasks.load.load import open_classifier
from wideresnet.tasks.quantize.accuracy_gate import BATCH, AccuracyGate, compare
from wideresnet.tasks.quantize.calibration_data import (
    NEEDED,
    calibration_pool,
    gate_images,
    held_out,
    notes_on_counts,
    notes_on_images,
    passed_over,
)
from wideresnet.tasks.quantize.search import MORE, Notebook, Search, candidates
from wideresnet.tasks.quantize.sensitivity import layer_losses

Stored = Literal["fp32", "fp16", "int8"]
GateKind = Literal["accuracy", "agreement"]
# Root mean square of the difference over the logits' standard deviation. Far above what good graphs show
# (see the tests), far below what a wrong one does: unrelated logits are 1.4 apart.
LIMITS: dict[Stored, float] = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.3}
BATCHES = (1, 2, 7)
PACE, ROUNDS = 8, 7                                # images a batch, and batches, to measure speed with


@dataclass(frozen=True)
class CompileSettings:
    """``calibration``: images for int8 (class folders, any folder, a CIFAR archive: its training images).

    ``data``: images for the gate. Labelled, ``gate`` holds: the top-1 that may be lost. Without labels, or
    without ``data`` (then calibration images that calibrate nothing are taken), ``agreement`` holds: the share
    of same answers demanded. Both are fractions; ``gate`` None: no gate of either kind. ``kind``: the one that was
    asked for, so that images of the other are refused. ``search``: minutes to look for settings that pass.
    ``layers``: measure what quantising each layer costs.
    """

    precision: Stored
    calibration: Path | None = None
    data: Path | None = None
    gate: float | None = 0.002
    agreement: float = 0.95
    kind: GateKind | None = None
    quantise: QuantiseSettings = DEFAULTS
    search: float | None = None
    layers: bool = False


@dataclass(frozen=True, eq=False)
class Made:
    """A bundle that passed its verification, and what was found on the way."""

    bundle: Bundle
    trial: Trial
    maker: Int8Maker | None = None                 # of an int8 one
    trials: tuple[Trial, ...] = ()
    finished: bool = True
    notebook: Notebook | None = None               # of the search that it came from
    notes: tuple[str, ...] = ()                    # what is not as asked
    unread: Mapping[str, Failure] = field(default_factory=dict)


def compile_model(bundle: Bundle, settings: CompileSettings, folder: Path) -> Generator[Progress, None, CompileReport]:
    """Write ``bundle`` in another precision as ``folder``, and return the report.

    A bundle that fails its gate is written all the same, with the failure on its card. A search that finds none
    that passes keeps its notes in ``folder``.search, and goes on from there when asked again. Raises BundleError
    when the new graph's logits are not those of the float32 graph, ConfigError or DataError for what is missing.
    """
    if settings.search is not None and (settings.precision != "int8" or settings.gate is None):
        raise ConfigError("a search looks for int8 that passes a gate", hint="leave out --search")
    tensors = read_weights(bundle)
    reference = rebuild(bundle, tensors, "fp32")
    if settings.precision == "int8":
        made = yield from _int8(reference, settings, folder)
    else:
        other, judge = rebuild(bundle, tensors, settings.precision), _judge(settings, reference, ())
        trial = yield from _tested(reference, other, noise(bundle.card.preprocess.crop), judge)
        made = Made(other, trial, unread=judge.unread if judge else {})
    gate, card = made.trial.gate, _card(made, settings)
    write_bundle(folder, replace(made.bundle, card=card))
    if made.notebook and gate and gate.passed:
        made.notebook.remove()
    layers: list[LayerLoss] = []
    if settings.layers and made.maker:             # it takes long; by now the bundle is safe
        for loss in made.maker.losses(replace(made.trial.settings, kept=()), ()):
            layers.append(loss)
            yield Progress("sensitivity of layers", len(layers), 0)
    return CompileReport(
        bundle=str(folder),
        precision=settings.precision,
        size_bytes=len(made.bundle.graph),
        size_bytes_reference=len(reference.graph),
        verified=made.trial.verified,
        calibration=len(card.calibration),
        gate=gate,
        quantised=card.quantised,
        layers=tuple(layers),
        trials=made.trials,
        finished=made.finished,
        failures=by_path(made.unread.values()),
        notes=made.notes,
        assumed=card.assumed,
        skipped=passed_over(settings.calibration, settings.data, reference.labels),
    )


def _int8(reference: Bundle, settings: CompileSettings, folder: Path) -> Generator[Progress, None, Made]:
    """Quantise once, or search."""
    pool, asked = calibration_pool(settings.calibration, reference.labels), settings.quantise.samples
    held = held_out(pool, asked) if settings.data is None and settings.gate is not None else []
    spare, judge = set(map(id, held)), _judge(settings, reference, held)
    maker = Int8Maker(reference, [item for item in pool if id(item) not in spare], judge)
    # What cannot be read leaves the pool: from here on every number of images is one of images that are used.
    maker.sample(asked if settings.search is None else MORE * asked)
    used = min(asked, len(maker.pool))
    if used < NEEDED:
        first = next((f"; {each.path}: {each.error}" for each in maker.unread.values()), "")
        few = f"{used} of {len(pool) - len(held)} calibration images can be read, {NEEDED} are the fewest"
        raise DataError(few + first, hint="give --calibration FOLDER, some hundred images")
    settings = replace(settings, quantise=replace(settings.quantise, samples=used))
    if settings.search is not None:
        made = yield from _search(maker, settings, folder.resolve())
    else:
        trial = yield from maker.attempt(settings.quantise)
        made = Made(maker.bundle(trial.settings), trial, maker)
    chosen = balanced_sample(maker.pool, made.trial.settings.samples)
    judged = made.trial.gate.n if held and made.trial.gate else 0
    items, unread = (judge.items, judge.unread) if judge else ((), {})
    notes = *notes_on_counts(asked, used, len(pool), judged), *notes_on_images(chosen, items)
    return replace(made, notes=notes, unread=maker.unread | unread)


def _search(maker: Int8Maker, settings: CompileSettings, folder: Path) -> Generator[Progress, None, Made]:
    """The best that a search finds."""
    assert settings.search is not None
    assert maker.judge is not None
    deadline = time.monotonic() + 60 * settings.search
    notebook = Notebook(folder.with_name(f"{folder.name}.search"), maker.key(settings.quantise))
    maker.judge = replace(maker.judge, answers=(yield from notebook.answers(maker.judge)))
    maker.paced = True
    search = Search(maker, notebook, maker.judge, deadline)
    finished = yield from search.run(candidates(settings.quantise, len(maker.pool)))
    best = search.best()
    return Made(maker.bundle(best.settings), best, maker, tuple(search.trials), finished, notebook)


@dataclass
class Int8Maker:
    """Makes int8 bundles of ``reference`` with images out of ``pool``, and holds them to ``judge``.

    ``unread`` gathers by path what could not be read. ``paced`` measures the bundles' speed, too. The last graph is
    kept, for those that differ in ``kept`` only.
    """

    reference: Bundle
    pool: Sequence[Item]
    judge: AccuracyGate | None
    unread: dict[str, Failure] = field(default_factory=dict)
    paced: bool = False
    last: tuple[QuantiseSettings, onnx.ModelProto] | None = None

    def attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial]:
        """See ``search.Maker``."""
        made, batch = self.bundle(settings), np.stack(self.sample(PACE)[1])
        trial = yield from _tested(self.reference, made, batch, self.judge)
        speedup = faster(open_engine(self.reference), open_engine(made), batch) if self.paced else None
        return replace(trial, settings=settings, speedup=speedup)

    def losses(self, settings: QuantiseSettings, known: Sequence[LayerLoss]) -> Iterator[LayerLoss]:
        """See ``search.Maker``."""
        return layer_losses(self.reference, self._graph(settings), self.sample(settings.samples)[1], known)

    def bundle(self, settings: QuantiseSettings) -> Bundle:
        """The reference in int8."""
        graph = self._graph(replace(settings, kept=()))
        if settings.kept:
            graph = keep_float(graph, self.reference.model, settings.kept)
        names = [item.path for item in balanced_sample(self.pool, settings.samples)]
        return _as_int8(self.reference, graph, names, settings)

    def sample(self, count: int) -> tuple[list[Item], list[NDArray[np.uint8]]]:
        """At most ``count`` images that can be read, balanced, and their crops, uint8 [S, S, 3].

        One that cannot leaves the pool, and another takes its turn.
        """
        spec = self.reference.card.preprocess
        while True:
            chosen = balanced_sample(self.pool, count)
            batches = list(load_batches(chosen, spec, batch_size=BATCH, threads=available_cpus()))
            failures = {each.path: each for batch in batches for each in batch.failures}
            if not failures:
                return chosen, [crop for batch in batches for crop in batch.pixels]
            self.unread.update(failures)
            self.pool = [item for item in self.pool if item.path not in failures]

    def key(self, start: QuantiseSettings) -> str:
        """Stands for all that decides what a search finds: model, images, settings, tools."""
        judging = [(item.path, item.label) for item in self.judge.items] if self.judge else []
        tools = [metadata.version(name) for name in ("nncf", "openvino", "wideresnet")]
        parts = repr((start, tools, judging, [item.path for item in self.pool]))
        return hashlib.sha256(self.reference.graph + parts.encode()).hexdigest()

    def _graph(self, settings: QuantiseSettings) -> onnx.ModelProto:
        if self.last is None or self.last[0] != settings:
            self.last = settings, quantise(self.reference.model, self.sample(settings.samples)[1], settings)
        return self.last[1]


def _tested(
    reference: Bundle, made: Bundle, batch: NDArray[np.uint8], judge: AccuracyGate | None
) -> Generator[Progress, None, Trial]:
    """Verify a bundle, and hold it to the gate where there is one."""
    verified = verify(reference, made, batch)
    gate = (yield from compare(judge, open_classifier(made))) if judge else None
    return Trial(made.card.quantised or DEFAULTS, gate, verified)


def _judge(settings: CompileSettings, reference: Bundle, held: Sequence[Item]) -> AccuracyGate | None:
    """What the result is held against: the images of ``settings.data`` or ``held``; None without either."""
    if settings.data is not None:
        name, items = gate_images(settings.data, reference.labels)
    elif held:
        # The network may have been trained on them: accuracy would mean nothing there.
        name, items = "calibration images that calibrated nothing", [replace(item, label=None) for item in held]
    else:
        return None
    agreement = None if settings.gate is None else settings.agreement
    judge = AccuracyGate(open_classifier(reference), name, items, settings.gate, agreement)
    if settings.kind not in (None, judge.kind):
        have = "have no labels" if judge.kind == "agreement" else "have labels"
        hint = "give --gate where --data is labelled, --min-agreement where it is not"
        raise ConfigError(f"a gate of {settings.kind} is asked for, and the images that judge {have}", hint)
    return judge


def _card(made: Made, settings: CompileSettings) -> ModelCard:
    """The card of what was made, with what the gate found, or that there was none."""
    gate, card = made.trial.gate, made.bundle.card
    notes = {key: value for key, value in card.notes.items() if key not in ("gate", "search")}
    if settings.gate is None:
        notes["gate"] = "none was asked for"
    elif gate is None:
        notes["gate"] = "none: there were no images to compare with fp32 on"
    if made.notes:
        notes["calibration"] = "; ".join(made.notes)
    if made.trials:
        notes["search"] = f"the best of {len(made.trials)} ways of quantising, judged by the same images"
    return replace(card, gate=gate, measured=measured(gate) if gate else (), notes=notes)


def in_precision(
    reference: Bundle, precision: Stored, crops: Sequence[NDArray[np.uint8]] = (), names: Sequence[str] = ()
) -> Bundle:
    """``reference`` with its graph in ``precision``; int8 in the usual way, with the ranges of ``crops``."""
    if precision != "int8":
        return rebuild(reference, read_weights(reference), precision)
    settings = QuantiseSettings(samples=len(crops))
    graph = quantise(reference.model, crops, settings)
    return _as_int8(reference, graph, names, settings)


def _as_int8(reference: Bundle, graph: onnx.ModelProto, names: Sequence[str], settings: QuantiseSettings) -> Bundle:
    """A quantised graph as a bundle whose card says how it was made."""
    card = replace(
        reference.card,
        name=f"{reference.card.name.removesuffix('-int8')}-int8",
        precision="int8",
        calibration=tuple(names),
        quantised=settings,
        made_with={**reference.card.made_with, "nncf": metadata.version("nncf")},
    )
    return reference.with_model(graph, card)


def verify(reference: Bundle, made: Bundle, batch: NDArray[np.uint8]) -> tuple[Deviation, ...]:
    """Logits of ``made`` against ``reference`` in every installed runtime that takes ONNX, at 1, 2 and 7 images.

    Raises BundleError when one is further off than its precision explains.
    """
    logits = open_engine(reference)(batch)
    found = []
    for name in ("openvino", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            continue
        engine = open_engine(made, name)
        for size in BATCHES:
            some = batch[:size]
            found.append(Deviation(name, len(some), deviation(logits[: len(some)], engine(some))))
    worst = max(found, key=lambda each: each.relative)
    limit = LIMITS[made.card.precision]
    if not worst.relative <= limit:
        raise BundleError(
            f"the {made.card.precision} graph is not the model it was made from: in {worst.engine} its logits are"
            f" {worst.relative:.3g} of their spread away, more than {limit:g}",
            hint="nothing was written" + "; give other images with --calibration" * (made.card.precision == "int8"),
        )
    return tuple(found)


def faster(reference: Engine, other: Engine, batch: NDArray[np.uint8]) -> float:
    """How many times as fast as ``reference`` the other is: medians of batches that take turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + ROUNDS):                    # the first is to warm up
        for engine, seconds in zip((reference, other), spent, strict=True):
            start = time.perf_counter()
            engine(batch)
            seconds.append(time.perf_counter() - start)
    return statistics.median(spent[0][1:]) / statistics.median(spent[1][1:])


def measured(gate: GateReport) -> tuple[Measured, ...]:
    """What the gate saw of the compiled model's accuracy, as a line on its card; none without labels."""
    if gate.top1 is None or gate.top5 is None:
        return ()
    engine = f"{gate.engine.runtime} {gate.engine.version}"
    hits = round(gate.top1 * gate.n), round(gate.top5 * gate.n)
    return (Measured(gate.data, gate.n, *hits, engine, gate.engine.precision),)
