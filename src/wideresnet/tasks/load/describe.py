"""Facts about a model that need no engine: size, preprocessing, licence, published accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.architectures import ARCHITECTURES, Architecture, describe_variant, get_architecture, normalise_name
from wideresnet.bundle import is_bundle, network_of
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.labels.formats import LabelFile, read_label_file
from wideresnet.errors import ConfigError
from wideresnet.records import FileFacts, FileReport, Labels, ModelCard, ModelInfo, Preprocess
from wideresnet.tasks.load.assumed_card import ASSUMED_LABELS, usual_preprocess
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.resolve import EMBEDDED, WeightsFile, embedded_folder, local_source, resolve_model
from wideresnet.tasks.load.weights_file import read_file, refuse_facts
from wideresnet.weights.catalogue import CATALOGUE, DEFAULTS, PAPER, Weights
from wideresnet.weights.store import is_cached


def list_models() -> list[ModelInfo]:
    """Return embedded models, then published weights, then architectures to train."""
    embedded = [describe(name) for name in EMBEDDED if is_bundle(embedded_folder(name))]
    published = [describe_weights(weights) for weights in CATALOGUE.values()]
    return [*embedded, *published, *map(_describe_architecture, ARCHITECTURES.values())]


def describe(name: str, classes: int | None = None, facts: FileFacts | None = None) -> ModelInfo:
    """Return the facts about a bundle, weights file, embedded or published model, or architecture.

    ``classes`` is the number of classes to count an architecture with; ``facts`` are for a weights file. Raises
    ConfigError for another number of classes than a model has, for facts about another model than a file, and for a
    name that stands for nothing.
    """
    source = local_source(name)
    if isinstance(source, WeightsFile) and source.path.suffix != ".onnx":
        info = _describe_file(source.path, facts or FileFacts())
    elif facts not in (None, FileFacts()):
        raise ConfigError(f"{name} is not a weights file", hint="leave out the facts about one, such as --activation")
    elif isinstance(source, Architecture):
        return _describe_architecture(get_architecture(name, classes))
    elif isinstance(source, Weights):
        info = replace(describe_weights(source), class_labels=read_labels(source.labels))
        if classes not in (None, info.classes) and normalise_name(name) in DEFAULTS:
            return _describe_architecture(get_architecture(name, classes))     # which those weights do not fit
    else:
        bundle = load_bundle(ModelChoice(name))
        info = replace(describe_card(bundle.card), class_labels=bundle.labels)
        if cascade := bundle.card.cascade:
            parts = [describe_card(member.card) for member in bundle.members]
            images = list(zip(parts, cascade.point.reached, strict=True))
            macs, thop = (
                sum(getattr(part, name) * n for part, n in images) // cascade.point.n for name in ("macs", "thop_macs")
            )
            parameters = sum(part.parameters for part in parts)
            info = replace(info, cascade=cascade, parameters=parameters, macs=macs, thop_macs=thop)
    if classes not in (None, info.classes):
        raise ConfigError(f"{info.name} has {info.classes} classes, not {classes}", hint="leave out --classes")
    return info


def _describe_file(path: Path, facts: FileFacts) -> ModelInfo:
    """Return the facts about a weights file; one without a classifier is described too."""
    model = read_file(path, replace(facts, headless=True))
    network, origin = model.network, model.network.origin
    report = FileReport(origin.scheme.title, origin.evidence, network.used, network.ignored)
    info = describe_card(replace(model.card, variant=network.architecture.variant()))
    return replace(info, file=report, class_labels=model.labels)


def labels_of(choice: ModelChoice) -> tuple[Labels, str, Sequence[str]]:
    """Return the classes of a model by index, the name of their list, and the assumptions; downloads nothing.

    Raises WrnError.
    """
    source = resolve_model(choice.name)
    if choice.weights is None and isinstance(source, Weights):
        refuse_facts(choice.name, choice.facts, "published model")
        file = read_label_file(choice.labels) if choice.labels else LabelFile(read_labels(source.labels))
        return file.labels, "" if choice.labels else source.labels, file.notes
    bundle = load_bundle(choice)
    assumed = [assumption for assumption in bundle.card.assumed if assumption.startswith(ASSUMED_LABELS)]
    return bundle.labels, bundle.card.labels_name, assumed


def describe_card(card: ModelCard) -> ModelInfo:
    """Return the facts on a model card."""
    return replace(
        _describe_architecture(network_of(card), card.preprocess),
        name=card.name, labels=card.labels_name, licence=card.licence, where="here",
        published=card.published, measured=card.measured, assumed=card.assumed, variant=card.variant,
        uncertainty=card.uncertainty,
        notes=card.notes | ({"variant": describe_variant(card.variant)} if card.variant else {}),
    )  # fmt: skip


def describe_weights(weights: Weights) -> ModelInfo:
    """Return the facts about published weights."""
    return replace(
        _describe_architecture(get_architecture(weights.architecture), weights.preprocess),
        name=weights.name, labels=weights.labels, licence=weights.licence, published=weights.published,
        where="here" if is_cached(weights) else "to download",
        notes={"note": weights.note} if weights.note else {},
    )  # fmt: skip


def _describe_architecture(architecture: Architecture, preprocess: Preprocess | None = None) -> ModelInfo:
    preprocess = preprocess or usual_preprocess(architecture)
    paper = PAPER.get(architecture.name) if architecture.classes == 1000 else None      # its figures are of ImageNet
    return ModelInfo(
        name=architecture.name, architecture=architecture.name, classes=architecture.classes, preprocess=preprocess,
        parameters=architecture.parameters(), macs=architecture.macs(preprocess.crop),
        thop_macs=architecture.thop_macs(preprocess.crop),
        labels="", licence="", where="to train", published=(paper,) if paper else (),
    )  # fmt: skip
