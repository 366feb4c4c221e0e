"""A model in another precision: made, verified against its float32 graph, and held to an accuracy gate."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from wideresnet.architectures import get_architecture
from wideresnet.bundle import Bundle, write_bundle
from wideresnet.data.cifar import cifar_train, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.open import open_labelled
from wideresnet.data.sample import balanced_sample
from wideresnet.engines import open_engine
from wideresnet.errors import BundleError, ConfigError, DataError
from wideresnet.graph import read_graph, write_graph
from wideresnet.graph.quantise import quantise
from wideresnet.images.loader import read_named_crop
from wideresnet.records import CompileReport, Deviation, GateReport, Item, Measured, Preprocess
from wideresnet.tasks.classify import pictures
from wideresnet.tasks.compare import compare
from wideresnet.tasks.load import open_classifier

Stored = Literal["fp32", "fp16", "int8"]
# Root mean square of the difference over the logits' standard deviation. Far above what good graphs show
# (see the tests), far below what a wrong one does: unrelated logits are 1.4 apart.
LIMITS: dict[Stored, float] = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.3}
BATCHES = (1, 2, 7)


@dataclass(frozen=True)
class CompileSettings:
    """``calibration``: pictures for int8 (class folders, any folder, a CIFAR archive: its training pictures).

    ``data``: labelled pictures for the gate. ``gate``: top-1 that may be lost, as a fraction; None: no gate.
    """

    precision: Stored
    calibration: Path | None = None
    samples: int = 300
    data: Path | None = None
    gate: float | None = 0.002


@dataclass(frozen=True)
class Judged:
    """Pictures of the gate done so far."""

    done: int
    total: int


def compile_model(bundle: Bundle, settings: CompileSettings, folder: Path) -> Iterator[Judged | CompileReport]:
    """Write ``bundle`` in another precision as ``folder``; yields progress of the gate, at last the report.

    A bundle that fails its gate is written all the same, with the failure on its card. Raises BundleError when
    the new graph's logits are not those of the float32 graph, ConfigError or DataError for what is missing.
    """
    if settings.precision == "int8" and settings.gate is not None and settings.data is None:
        raise ConfigError(
            "the accuracy gate needs labelled pictures", hint="give --data, or --gate none to go without"
        )
    reference = float_bundle(bundle)
    sample = calibration_sample(settings, reference) if settings.precision == "int8" else []
    crops = [read_named_crop(item.source, bundle.card.preprocess) for item in sample]
    made = in_precision(reference, settings.precision, crops, [item.path for item in sample])
    verified = verify(reference, made, np.stack(crops[:8]) if crops else noise(bundle.card.preprocess.crop))
    gate = None
    if settings.data is not None:
        data = open_labelled(settings.data, bundle.labels)
        classifiers = open_classifier(reference), open_classifier(made)
        for event in compare(*classifiers, data, settings.gate):
            if isinstance(event, GateReport):
                gate = event
            else:
                yield Judged(event, len(data.items))
    card = replace(made.card, gate=gate, measured=(measurement(gate),) if gate else ())
    write_bundle(folder, replace(made, card=card))
    sizes = len(made.graph), len(reference.graph)
    yield CompileReport(str(folder), settings.precision, *sizes, verified, len(crops), gate)


def seen_as(bundle: Bundle, preprocess: Preprocess) -> Bundle:
    """The same weights, to be shown pictures in another way. Published accuracies hold for the old one only."""
    if preprocess == bundle.card.preprocess:
        return bundle
    return replace(bundle, card=replace(bundle.card, preprocess=preprocess, published=(), measured=()))


def float_bundle(bundle: Bundle) -> Bundle:
    """The same model with float32 weights in its graph, normalised as its card says.

    Raises BundleError for a quantised one.
    """
    architecture = get_architecture(bundle.card.architecture, bundle.card.classes)
    tensors = read_graph(onnx.ModelProto.FromString(bundle.graph), architecture)
    graph = write_graph(architecture, tensors, bundle.card.preprocess)
    return replace(bundle, graph=graph.SerializeToString(), card=replace(bundle.card, precision="fp32"))


def in_precision(
    reference: Bundle, precision: Stored, crops: Sequence[NDArray[np.uint8]], names: Sequence[str]
) -> Bundle:
    """``reference`` with its graph in ``precision``; its card says how."""
    card = replace(reference.card, precision=precision)
    model = onnx.ModelProto.FromString(reference.graph)
    if precision == "fp16":
        architecture = get_architecture(card.architecture, card.classes)
        model = write_graph(architecture, read_graph(model, architecture), card.preprocess, half=True)
    if precision == "int8":
        model = quantise(model, crops)
        made_with = {**card.made_with, "nncf": metadata.version("nncf")}
        name = f"{card.name.removesuffix('-int8')}-int8"
        card = replace(card, name=name, calibration=tuple(names), made_with=made_with)
    return replace(reference, graph=model.SerializeToString(), card=card)


def calibration_sample(settings: CompileSettings, bundle: Bundle) -> list[Item]:
    """A class-balanced sample of the calibration pictures; of a CIFAR archive, of its training pictures."""
    path = settings.calibration
    if path is None:
        raise ConfigError("int8 needs calibration pictures", hint="give --calibration FOLDER, some hundred pictures")
    kind = detect_cifar(path)
    if kind is not None:
        return balanced_sample(cifar_train(path, kind).items, settings.samples)
    try:
        items: Sequence[Item] = labelled_folder(path, bundle.labels).items
    except DataError:
        items = list(pictures([path]))             # no class folders: any pictures will do
    return balanced_sample(items, settings.samples)


def verify(reference: Bundle, made: Bundle, batch: NDArray[np.uint8]) -> tuple[Deviation, ...]:
    """Logits of ``made`` against ``reference`` in every installed runtime that takes ONNX, at 1, 2 and 7 pictures.

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
            relative = float(np.sqrt(np.mean((engine(some) - logits[:size]) ** 2)) / logits.std())
            found.append(Deviation(name, len(some), relative))
    worst = max(found, key=lambda each: each.relative)
    limit = LIMITS[made.card.precision]
    if not worst.relative <= limit:
        raise BundleError(
            f"the {made.card.precision} graph is not the model it was made from: in {worst.engine} its logits are"
            f" {worst.relative:.3g} of their spread away, more than {limit:g}",
            hint="nothing was written; try other or more calibration pictures",
        )
    return tuple(found)


def noise(side: int) -> NDArray[np.uint8]:
    """Eight pictures of noise, always the same: uint8 [8, side, side, 3]."""
    return np.random.default_rng(0).integers(0, 256, (8, side, side, 3), np.uint8)


def measurement(gate: GateReport) -> Measured:
    """What the gate saw of the compiled model, as a line on its card."""
    engine = f"{gate.engine.runtime} {gate.engine.version}"
    hits = round(gate.top1 * gate.n), round(gate.top5 * gate.n)
    return Measured(gate.data, gate.n, *hits, engine, gate.engine.precision)
