"""What is known of a model without opening it: numbers, transform, licence, published accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.architectures import ARCHITECTURES, Architecture, get_architecture
from wideresnet.bundle import is_bundle
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.labels.formats import read_label_file
from wideresnet.errors import ConfigError
from wideresnet.records import Labels, ModelCard, ModelInfo, Preprocess
from wideresnet.tasks.load.load import (
    ASSUMED_LABELS,
    EMBEDDED,
    ModelChoice,
    bundle_folder,
    embedded_folder,
    find_weights,
    load_bundle,
    usual_preprocess,
)
from wideresnet.weights.catalogue import CATALOGUE, PAPER, Weights
from wideresnet.weights.store import is_cached


def list_models() -> list[ModelInfo]:
    """Embedded models, then published weights, then architectures to train."""
    embedded = [describe(name) for name in EMBEDDED if is_bundle(embedded_folder(name))]
    published = [_of_weights(weights) for weights in CATALOGUE.values()]
    return [*embedded, *published, *(_of_architecture(a) for a in ARCHITECTURES.values())]


def describe(name: str, classes: int | None = None) -> ModelInfo:
    """A bundle, an embedded or published model, or an architecture. Raises ConfigError for anything else."""
    if bundle_folder(name) or Path(name).is_file():
        card = load_bundle(ModelChoice(name)).card
        if classes not in (None, card.classes):
            raise ConfigError(f"{name} has {card.classes} classes, not {classes}", hint="leave out --classes")
        return _of_card(card)
    try:
        info = _of_weights(find_weights(name))
        if classes not in (None, info.classes):
            raise ConfigError(f"{info.name} has {info.classes} classes, not {classes}", hint="leave out --classes")
        return info
    except ConfigError as unknown:
        try:
            return _of_architecture(get_architecture(name, classes))
        except ConfigError as error:
            # A name that is shaped like WRN-n-k failed on its numbers: that is the better explanation.
            raise error if "must be" in error.message else unknown from None


def labels_of(choice: ModelChoice) -> tuple[Labels, str, Sequence[str]]:
    """The classes of a model by index, the name of their list, and what was assumed; downloads nothing.

    Raises WrnError.
    """
    if choice.weights is None and not bundle_folder(choice.name) and not Path(choice.name).exists():
        labels_name = find_weights(choice.name).labels
        if choice.labels is None:
            return read_labels(labels_name), labels_name, ()
        given = read_label_file(choice.labels)
        return given.labels, "", given.notes
    bundle = load_bundle(choice)
    assumed = [assumption for assumption in bundle.card.assumed if assumption.startswith(ASSUMED_LABELS)]
    return bundle.labels, bundle.card.labels_name, assumed


def _of_card(card: ModelCard) -> ModelInfo:
    info = _of_architecture(get_architecture(card.architecture, card.classes), card.preprocess)
    return replace(
        info,
        name=card.name,
        labels=card.labels_name,
        licence=card.licence,
        where="here",
        published=card.published,
        measured=card.measured,
        notes=card.notes,
        assumed=card.assumed,
    )


def _of_weights(weights: Weights) -> ModelInfo:
    return replace(
        _of_architecture(get_architecture(weights.architecture), weights.preprocess),
        name=weights.name,
        labels=weights.labels,
        licence=weights.licence,
        where="here" if is_cached(weights) else "to download",
        published=weights.published,
        notes={"note": weights.note} if weights.note else {},
    )


def _of_architecture(architecture: Architecture, preprocess: Preprocess | None = None) -> ModelInfo:
    preprocess = preprocess or usual_preprocess(architecture)
    paper = PAPER.get(architecture.name)
    return ModelInfo(
        name=architecture.name,
        architecture=architecture.name,
        parameters=architecture.parameters(),
        macs=architecture.macs(preprocess.crop),
        thop_macs=architecture.thop_macs(preprocess.crop),
        classes=architecture.classes,
        preprocess=preprocess,
        labels="",
        licence="",
        where="to train",
        published=(paper,) if paper else (),
    )
