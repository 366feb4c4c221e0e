"""Compilation to another precision, verified against the float32 graph and subject to an accuracy gate."""

from __future__ import annotations

import hashlib
import importlib.util
import math
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
from wideresnet.bundle.derive import DROPPED, GATE_NOTES, read_weights, rebuild, uncalibrated
from wideresnet.datasets.labelled import fingerprint
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines import Engine, open_engine
from wideresnet.errors import BundleError, ConfigError, DataError, check_choice
from wideresnet.graph.quantise import DEFAULTS, keep_float, quantise
from wideresnet.images.loader import load_batches
from wideresnet.images.noise import noise
from wideresnet.logits import deviation
from wideresnet.precision import StoredPrecision, precision_name, stored_name
from wideresnet.records import Failure, Item, Measured, ModelCard, Progress, Skipped, by_path
from wideresnet.records.compilation import CompileReport, Deviation, GateReport, LayerLoss, QuantiseSettings, Trial
from wideresnet.report.compilation import verdict_text
from wideresnet.tasks.load.load import open_classifier
from wideresnet.tasks.quantize import calibration_data
from wideresnet.tasks.quantize.accuracy_gate import BATCH, AccuracyGate, run_gate
from wideresnet.tasks.quantize.search import SAMPLES_FACTOR, Search, SearchState, candidates, passed
from wideresnet.tasks.quantize.sensitivity import layer_losses

GateKind = Literal["accuracy", "agreement"]
# Root mean square of the difference over the logits' standard deviation. Far above what good graphs show
# (see the tests), far below what a wrong one does: unrelated logits are 1.4 apart.
LIMITS: dict[StoredPrecision, float] = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.3}
BATCHES = (1, 2, 7)
SPEED_BATCH, SPEED_ROUNDS = 8, 7                   # images a batch, and batches, for the speed of a trial


@dataclass(frozen=True)
class CompileSettings:
    """The precision, images and limits of a compilation.

    ``calibration``: images for int8 (class folders, any folder, a CIFAR archive: its training images). ``data``:
    images for the gate. With labels the limit is ``gate``: the largest accepted loss of top-1. Without labels, or
    without ``data`` (held-out calibration images are used then), it is ``agreement``: the smallest accepted fraction
    of equal answers. ``gate`` None: no gate of either kind. ``kind``: the kind requested; images of the other kind
    are an error. ``search``: minutes to search for settings that pass. ``layers``: measure each layer's loss.
    ``images``: those of ``data``, if they are open already, without those that are not for the gate.
    """

    precision: StoredPrecision
    calibration: Path | None = None
    data: Path | None = None
    gate: float | None = 0.002
    agreement: float = 0.95
    kind: GateKind | None = None
    quantise: QuantiseSettings = DEFAULTS
    search: float | None = None
    layers: bool = False
    images: calibration_data.GateImages | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", stored_name(self.precision))
        check_choice("precision", precision_name(self.precision), map(precision_name, LIMITS))


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """A verified bundle, with the trial that produced it and those before."""

    bundle: Bundle
    trial: Trial
    quantizer: Quantizer | None = None             # int8 only
    trials: tuple[Trial, ...] = ()
    finished: bool = True
    search: SearchState | None = None
    notes: tuple[str, ...] = ()                    # deviations from the settings
    unread: Mapping[str, Failure] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)        # beside the images of calibration and gate


def compile_model(bundle: Bundle, settings: CompileSettings, folder: Path) -> Generator[Progress, None, CompileReport]:
    """Write ``bundle`` in another precision as ``folder``, and return the report.

    A bundle that fails its gate, or whose gate is undecided, is written too, with the verdict on its card. A search
    without a passing model keeps its state in ``folder``.search, and the next call resumes it. Raises BundleError if
    the logits deviate too far from float32, ConfigError or DataError for missing or unusable images.
    """
    if settings.search is not None and (settings.precision != "int8" or settings.gate is None):
        raise ConfigError("--search needs int8 and a gate", hint="leave out --search")
    tensors = read_weights(bundle)
    reference = replace(rebuild(bundle, tensors, "fp32"), folder=bundle.folder)
    if settings.precision == "int8":
        model = yield from _quantize(reference, settings, folder)
    else:
        rebuilt, gate = rebuild(bundle, tensors, settings.precision), _open_gate(settings, reference, ())
        trial = yield from _run_trial(reference, rebuilt, noise(bundle.card.preprocess.crop), gate)
        model = CompiledModel(rebuilt, trial)
        model = replace(model, notes=gate.notes, unread=gate.unread, skipped=gate.skipped) if gate else model
    card = _card(model, settings)
    write_bundle(folder, replace(model.bundle, card=card))
    if model.search and passed(model.trial):
        model.search.remove()
    layers: list[LayerLoss] = []
    if settings.layers and model.quantizer:        # slow, hence after the bundle is written
        for loss in model.quantizer.losses(replace(model.trial.settings, kept=()), ()):
            layers.append(loss)
            yield Progress("sensitivity of layers", len(layers), 0)
    return CompileReport(
        bundle=str(folder),
        precision=settings.precision,
        size_bytes=len(model.bundle.graph),
        size_bytes_reference=len(reference.graph),
        verified=model.trial.verified,
        calibration=len(card.calibration),
        gate=card.gate,
        quantised=card.quantised,
        layers=tuple(layers),
        trials=model.trials,
        finished=model.finished,
        failures=by_path(model.unread.values()),
        notes=(*model.notes, *([DROPPED] if bundle.card.uncertainty else [])),
        assumed=card.assumed,
        skipped=model.skipped,
    )


def _quantize(reference: Bundle, settings: CompileSettings, folder: Path) -> Generator[Progress, None, CompiledModel]:
    """Quantise once, or search."""
    requested = settings.quantise.samples
    data = calibration_data.calibration_pool(settings.calibration, reference.labels)
    pool = data.items
    held_out = calibration_data.hold_out(pool, requested) if settings.data is None and settings.gate is not None else []
    gate, held_out_ids = _open_gate(settings, reference, held_out), set(map(id, held_out))
    quantizer = Quantizer(reference, [item for item in pool if id(item) not in held_out_ids], gate)
    # Unreadable images leave the pool first, so that all numbers below are of images that are used.
    quantizer.sample(requested if settings.search is None else SAMPLES_FACTOR * requested)
    used = min(requested, len(quantizer.pool))
    if used < calibration_data.MIN_CALIBRATION_IMAGES:
        first = next((f"; {failure.path}: {failure.error}" for failure in quantizer.unread.values()), "")
        available, fewest = len(pool) - len(held_out), calibration_data.MIN_CALIBRATION_IMAGES
        few = f"{used} of {available} calibration images can be read, {fewest} are the fewest"
        raise DataError(few + first, hint="give --calibration FOLDER, a few hundred images")
    settings = replace(settings, quantise=replace(settings.quantise, samples=used))
    if settings.search is not None:
        model = yield from _search(quantizer, settings, folder.resolve())
    else:
        trial = yield from quantizer.attempt(settings.quantise)
        model = CompiledModel(quantizer.bundle(trial.settings), trial, quantizer)
    calibration = balanced_sample(quantizer.pool, model.trial.settings.samples)
    in_gate = model.trial.gate.n if held_out and model.trial.gate else 0
    on_counts = calibration_data.notes_on_counts(requested, used, len(pool), in_gate)
    on_images = calibration_data.notes_on_images(calibration, gate.items if gate else ())
    model = replace(model, notes=(*data.notes, *on_counts, *on_images), unread=quantizer.unread, skipped=data.skipped)
    if gate is None:
        return model
    same_files = settings.calibration == settings.data and gate.skipped == data.skipped
    skipped = data.skipped if same_files else data.skipped + gate.skipped
    notes = tuple(dict.fromkeys((*model.notes, *gate.notes)))
    return replace(model, notes=notes, unread=quantizer.unread | gate.unread, skipped=skipped)


def _search(quantizer: Quantizer, settings: CompileSettings, folder: Path) -> Generator[Progress, None, CompiledModel]:
    """Return the best model of a search."""
    assert settings.search is not None
    assert quantizer.gate is not None
    deadline = time.monotonic() + 60 * settings.search
    state = SearchState(folder.with_name(f"{folder.name}.search"), quantizer.key(settings.quantise))
    logits = yield from state.reference_logits(quantizer.gate)
    quantizer.gate = replace(quantizer.gate, reference_logits=logits)
    quantizer.measure_speed = True
    search = Search(quantizer, state, quantizer.gate, deadline)
    finished = yield from search.run(candidates(settings.quantise, len(quantizer.pool)))
    best = search.best()
    return CompiledModel(quantizer.bundle(best.settings), best, quantizer, tuple(search.trials), finished, state)


@dataclass
class Quantizer:
    """Builds int8 bundles of ``reference`` with calibration images of ``pool``, and runs ``gate`` on them.

    ``unread`` collects failures by path. ``measure_speed``: trials measure the speed-up, too. ``last`` caches the last
    graph, since settings that differ only in ``kept`` share it.
    """

    reference: Bundle
    pool: Sequence[Item]
    gate: AccuracyGate | None
    unread: dict[str, Failure] = field(default_factory=dict)
    measure_speed: bool = False
    last: tuple[QuantiseSettings, onnx.ModelProto] | None = None

    def attempt(self, settings: QuantiseSettings) -> Generator[Progress, None, Trial]:
        """See ``search.TrialRunner``."""
        bundle, batch = self.bundle(settings), np.stack(self.sample(SPEED_BATCH)[1])
        trial = yield from _run_trial(self.reference, bundle, batch, self.gate)
        speedup = None
        if self.measure_speed:
            speedup = compare_speed(open_engine(self.reference), open_engine(bundle), batch)
        return replace(trial, settings=settings, speedup=speedup)

    def losses(self, settings: QuantiseSettings, measured: Sequence[LayerLoss]) -> Iterator[LayerLoss]:
        """See ``search.TrialRunner``."""
        return layer_losses(self.reference, self._graph(settings), self.sample(settings.samples)[1], measured)

    def bundle(self, settings: QuantiseSettings) -> Bundle:
        """Return the reference in int8."""
        graph = self._graph(replace(settings, kept=()))
        if settings.kept:
            graph = keep_float(graph, self.reference.model, settings.kept)
        names = [item.path for item in balanced_sample(self.pool, settings.samples)]
        return _as_int8(self.reference, graph, names, settings)

    def sample(self, count: int) -> tuple[list[Item], list[NDArray[np.uint8]]]:
        """Return at most ``count`` readable images, balanced over the classes, and their crops, uint8 [S, S, 3].

        Unreadable images are removed from the pool and replaced by others.
        """
        spec = self.reference.card.preprocess
        while True:
            items = balanced_sample(self.pool, count)
            batches = list(load_batches(items, spec, batch_size=BATCH))
            failures = {failure.path: failure for batch in batches for failure in batch.failures}
            if not failures:
                return items, [crop for batch in batches for crop in batch.pixels]
            self.unread.update(failures)
            self.pool = [item for item in self.pool if item.path not in failures]

    def key(self, start: QuantiseSettings) -> str:
        """Return a hash of everything that determines the result of a search: model, images, settings, tools."""
        tools = [metadata.version(name) for name in ("nncf", "openvino", "wideresnet")]
        settings = repr((start, tools, self.reference.card.preprocess, len(self.pool)))
        digest = hashlib.sha256(self.reference.graph + settings.encode())
        for item in (*self.pool, *(self.gate.items if self.gate else ())):
            digest.update(f"{item.path}\t{item.label}\t".encode("utf-8", "surrogateescape") + fingerprint(item))
        return digest.hexdigest()

    def _graph(self, settings: QuantiseSettings) -> onnx.ModelProto:
        if self.last is None or self.last[0] != settings:
            self.last = settings, quantise(self.reference.model, self.sample(settings.samples)[1], settings)
        return self.last[1]


def _run_trial(
    reference: Bundle, compiled: Bundle, batch: NDArray[np.uint8], gate: AccuracyGate | None
) -> Generator[Progress, None, Trial]:
    """Verify a bundle and run the gate, if there is one."""
    verified = verify(reference, compiled, batch)
    report = (yield from run_gate(gate, open_classifier(compiled))) if gate else None
    return Trial(compiled.card.quantised or DEFAULTS, report, verified)


def _open_gate(settings: CompileSettings, reference: Bundle, held_out: Sequence[Item]) -> AccuracyGate | None:
    """Return the gate over the images of ``settings.data`` or ``held_out``; None without either."""
    notes: tuple[str, ...] = ()
    skipped = Skipped()
    if settings.data is not None:
        images = settings.images or calibration_data.open_gate_images(settings.data, reference)
        name, items, notes, skipped = images.data.name, images.items, images.notes, images.data.skipped
    elif held_out:
        # The network may have been trained on them, so that their accuracy would mean nothing.
        name, items = "held-out calibration images", [replace(item, label=None) for item in held_out]
    else:
        return None
    agreement = None if settings.gate is None else settings.agreement
    gate = AccuracyGate(open_classifier(reference), name, items, settings.gate, agreement, notes=notes, skipped=skipped)
    if settings.kind not in (None, gate.kind):
        have = "have no labels" if gate.kind == "agreement" else "have labels"
        hint = "give --gate where --data is labelled, --min-agreement where it is not"
        raise ConfigError(f"a gate of {settings.kind} is requested, but the images of the gate {have}", hint)
    return gate


def _card(model: CompiledModel, settings: CompileSettings) -> ModelCard:
    """Return the model's card with the report of the gate, or a note that there was none."""
    gate, card = model.trial.gate, model.bundle.card
    notes = {key: value for key, value in card.notes.items() if key not in GATE_NOTES}
    if settings.gate is None:
        notes["gate"] = "none was requested"
    elif gate is None:
        notes["gate"] = "none: there were no images for a comparison with f32"
    else:
        notes["gate"] = "; ".join((verdict_text(gate), *gate.warnings))
    # Trials "pass" where no loss was seen; a card says so only where the images are enough to tell.
    gate = gate and replace(gate, passed=gate.verdict in ("passed", "none"))
    if model.notes:
        notes["calibration" if model.quantizer else "gate images"] = "; ".join(model.notes)
    if model.trials:
        notes["search"] = f"the best of {len(model.trials)} settings, compared on the same images"
    return replace(card, gate=gate, measured=measured(gate) if gate else (), notes=notes)


def in_precision(
    reference: Bundle, precision: StoredPrecision, crops: Sequence[NDArray[np.uint8]] = (), names: Sequence[str] = ()
) -> Bundle:
    """Return ``reference`` in ``precision``; int8 with default settings, calibrated with ``crops``."""
    if precision != "int8":
        return rebuild(reference, read_weights(reference), precision)
    settings = QuantiseSettings(samples=len(crops))
    return _as_int8(reference, quantise(reference.model, crops, settings), names, settings)


def _as_int8(reference: Bundle, graph: onnx.ModelProto, names: Sequence[str], settings: QuantiseSettings) -> Bundle:
    """Return the bundle of a quantised graph, with its settings on the card."""
    card = replace(
        reference.card,
        name=f"{reference.card.name.removesuffix('-int8')}-int8",
        precision="int8",
        calibration=tuple(names),
        quantised=settings,
        made_with={**reference.card.made_with, "nncf": metadata.version("nncf")},
    )
    return reference.with_model(graph, card)


def export_bundle(bundle: Bundle, folder: Path, storage: StoredPrecision | None = None) -> ModelCard:
    """Write ``bundle`` as ``folder``, with its weights in ``storage`` and then verified; None: as it is stored.

    Raises BundleError if a deviation is larger than the precision explains, ConfigError for a cascade.
    """
    bundle.check_single()
    if storage and bundle.card.precision != storage:
        check_choice("storage", storage, LIMITS)
        reference, bundle = uncalibrated(bundle), in_precision(bundle, storage)
        verify(reference, bundle, noise(bundle.card.preprocess.crop))
    return write_bundle(folder, bundle)


def verify(reference: Bundle, compiled: Bundle, batch: NDArray[np.uint8]) -> tuple[Deviation, ...]:
    """Compare logits with the reference in every installed ONNX runtime, at batches of 1, 2 and 7 images.

    Raises BundleError if a deviation is larger than the precision explains.
    """
    logits = open_engine(reference)(batch)
    deviations = []
    for name in ("openvino", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            continue
        engine = open_engine(compiled, name)
        for size in BATCHES:
            images = batch[:size]
            deviations.append(Deviation(name, len(images), deviation(logits[: len(images)], engine(images))))
    worst = max(deviations, key=lambda item: (math.isnan(item.relative), item.relative))
    limit = LIMITS[compiled.card.precision]
    if not worst.relative <= limit:
        precision = precision_name(compiled.card.precision)
        raise BundleError(
            f"the {precision} graph does not compute the model: in {worst.engine} its logits differ by"
            f" {worst.relative:.3g} (relative RMS error), more than {limit:g}",
            hint="nothing was written" + "; give other images with --calibration" * (compiled.card.precision == "int8"),
        )
    return tuple(deviations)


def compare_speed(reference: Engine, candidate: Engine, batch: NDArray[np.uint8]) -> float:
    """Return the speed-up of ``candidate``: the ratio of median times, measured alternately."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(1 + SPEED_ROUNDS):              # the first round is the warm-up
        for engine, seconds in zip((reference, candidate), times, strict=True):
            start = time.perf_counter()
            engine(batch)
            seconds.append(time.perf_counter() - start)
    return statistics.median(times[0][1:]) / statistics.median(times[1][1:])


def measured(gate: GateReport) -> tuple[Measured, ...]:
    """Return the compiled model's accuracy in the gate, as measured accuracy of its card; none without labels."""
    if gate.top1 is None or gate.top5 is None:
        return ()
    engine = f"{gate.engine.runtime} {gate.engine.version}"
    correct1, correct5 = round(gate.top1 * gate.n), round(gate.top5 * gate.n)
    return (Measured(gate.data, gate.n, correct1, correct5, engine, gate.engine.precision),)
