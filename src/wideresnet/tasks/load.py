"""From whatever names a model to a bundle, and to a classifier that runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from wideresnet.architectures import Architecture, get_architecture, normalise_name
from wideresnet.bundle import Bundle, is_bundle, make_bundle, read_bundle
from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.data.labels import parse_labels, read_labels
from wideresnet.data.labels.formats import read_label_file
from wideresnet.data.statistics import STATISTICS
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.errors import BundleError, ConfigError, WeightsError, did_you_mean
from wideresnet.records import Labels, ModelCard, Preprocess
from wideresnet.weights.catalogue import CATALOGUE, DEFAULTS, Weights, resolve
from wideresnet.weights.guess import guess_architecture
from wideresnet.weights.keymaps import fit_tensors
from wideresnet.weights.read import TensorFile, read_tensors, sha256_of

if TYPE_CHECKING:
    from wideresnet.weights.download import Progress

EMBEDDED = ("wrn_16_4.cifar10",)
DEFAULT_MODEL = EMBEDDED[0]
# In the metadata of a safetensors file written here: the card, and the labels as a bundle's labels.txt.
CARD_KEY, LABELS_KEY = "wideresnet.card", "wideresnet.labels"
_CARD = TypeAdapter(ModelCard)


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and what its name or file does not say by itself.

    ``model`` is a bundle, a weights file (``.onnx`` too), a name of the catalogue, or an embedded model.
    ``weights`` is a file to take the tensors from instead of the published one. ``architecture`` and ``labels``
    (a file, see ``data.labels.formats``) are for weights files that do not say.
    """

    model: str = DEFAULT_MODEL
    weights: Path | None = None
    architecture: str | None = None
    labels: Path | None = None
    storage: Literal["fp32", "fp16"] = "fp32"
    offline: bool = False


def load(
    model: str | Path = DEFAULT_MODEL,
    *,
    engine: str = "openvino",
    precision: Literal["f32", "bf16"] = "f32",
    architecture: str | None = None,
    weights: Path | None = None,
    threads: int = 0,
) -> Classifier:
    """Open a model: a bundle folder, a weights file, a catalogue name, or an embedded model.

    ``engine`` is openvino, onnxruntime or pytorch; ``precision`` is that of the arithmetic; ``threads`` 0
    means every CPU the process may use. Downloads published weights once. Raises WrnError.
    """
    bundle = load_bundle(ModelChoice(str(model), weights, architecture))
    return open_classifier(bundle, engine, EngineOptions(precision, threads))


def open_classifier(bundle: Bundle, engine: str = "openvino", options: EngineOptions | None = None) -> Classifier:
    """A bundle with an engine under it."""
    return Classifier(bundle.card, bundle.labels, open_engine(bundle, engine, options))


def load_bundle(choice: ModelChoice, progress: Progress | None = None) -> Bundle:
    """The bundle that ``choice`` names, made in memory where it is not one already. Raises WrnError."""
    path = Path(choice.model)
    if choice.model in EMBEDDED:
        return read_bundle(embedded_folder(choice.model))
    if is_bundle(path):
        return read_bundle(path)
    if path.is_file():
        return _from_onnx(path, choice) if path.suffix == ".onnx" else _from_file(path, choice)
    if path.exists() or path.suffix in (".safetensors", ".pth", ".pt", ".onnx") or "/" in choice.model:
        raise ConfigError(f"{choice.model} is no bundle and no weights file", hint="'wrn models' lists the names")
    weights = find_weights(choice.model)
    if choice.weights is None:
        from wideresnet.weights.store import fetch  # with the HTTP client; a model that is here starts sooner

        file = read_tensors(fetch(weights, offline=choice.offline, progress=progress))
        return _from_catalogue(weights, file, weights.urls[0], choice.storage)
    file = read_tensors(choice.weights)
    bundle = _from_catalogue(weights, file, choice.weights.name, choice.storage)
    if file.sha256.startswith(weights.sha256_prefix):
        return bundle
    # It may be the hub's copy of the same tensors or anything else: the published figures are not its own.
    notes = {"identity": f"{choice.weights.name} is not the published file of {weights.name} by its hash"}
    return replace(bundle, card=replace(bundle.card, published=(), notes=notes))


def embedded_folder(name: str) -> Path:
    """The folder of a model inside the package."""
    return Path(str(resources.files("wideresnet"))) / "embedded" / name


def find_weights(name: str) -> Weights:
    """``weights.catalogue.resolve`` with the embedded models among the suggestions."""
    try:
        return resolve(name)
    except ConfigError as error:
        # Whoever wrote a tag looks for a tag.
        known = [*EMBEDDED, *CATALOGUE] if "." in name else [*EMBEDDED, *CATALOGUE, *DEFAULTS]
        close = did_you_mean(normalise_name(name), known)
        hint = f"{close} 'wrn models' lists all".strip() if error.message.startswith("no weights") else error.hint
        raise ConfigError(error.message.replace("no weights called", "no model called"), hint=hint) from error


def _from_catalogue(
    weights: Weights, file: TensorFile, source: str, storage: Literal["fp32", "fp16"]
) -> Bundle:
    architecture = get_architecture(weights.architecture)
    card = ModelCard(
        name=weights.name,
        architecture=weights.architecture,
        classes=architecture.classes,
        preprocess=weights.preprocess,
        precision=storage,
        licence=weights.licence,
        weights_source=source,
        weights_sha256=file.sha256,
        labels_name=weights.labels,
        published=weights.published,
    )
    tensors = fit_tensors(file.tensors, architecture)
    return make_bundle(architecture, tensors, card, read_labels(weights.labels), storage)


def _from_file(path: Path, choice: ModelChoice) -> Bundle:
    """A weights file: known by its hash, by the card it carries, or by its tensors and what the user says."""
    file = read_tensors(path)
    for weights in CATALOGUE.values():
        if file.sha256.startswith(weights.sha256_prefix):
            return _from_catalogue(weights, file, str(path), choice.storage)
    card = _card_inside(path, file.metadata)
    name = choice.architecture or (card.architecture if card else None)
    architecture = _architecture_of(file, name, path)
    if card is None:
        card = _card_for(path, architecture)
    if choice.labels is None and LABELS_KEY in file.metadata:
        labels = parse_labels(file.metadata[LABELS_KEY])
    else:
        labels = _labels_for(choice.labels, card, architecture)
    card = replace(card, weights_source=card.weights_source or path.name, weights_sha256=file.sha256)
    return make_bundle(architecture, fit_tensors(file.tensors, architecture), card, labels, choice.storage)


def _from_onnx(path: Path, choice: ModelChoice) -> Bundle:
    """The graph of a bundle, or of one of these networks as another tool wrote it: read, written anew, compared."""
    from wideresnet.graph.foreign import read_foreign
    from wideresnet.tasks.foreign import check_same, input_side, read_onnx

    if path.name == GRAPH and is_bundle(path.parent):
        return read_bundle(path.parent)
    model = read_onnx(path)
    wanted = get_architecture(choice.architecture) if choice.architecture else None
    try:
        architecture, tensors = read_foreign(model, wanted)
    except BundleError as error:
        raise BundleError(f"{path} is {error.message}", error.hint) from error
    card = _card_for(path, architecture)
    labels = _labels_for(choice.labels, card, architecture)
    spec = usual_preprocess(architecture).at(input_side(model))
    card = replace(card, preprocess=spec, weights_source=path.name, weights_sha256=sha256_of(path))
    bundle = make_bundle(architecture, tensors, card, labels)
    check_same(path, bundle)
    return bundle if choice.storage == "fp32" else make_bundle(architecture, tensors, card, labels, choice.storage)


def _card_inside(path: Path, metadata: Mapping[str, str]) -> ModelCard | None:
    if CARD_KEY not in metadata:
        return None
    try:
        card = _CARD.validate_python(json.loads(metadata[CARD_KEY]))
    except (ValidationError, json.JSONDecodeError) as error:
        raise WeightsError(f"the card inside {path} cannot be read: {error}") from error
    if "whitening" in card.notes:
        raise WeightsError(
            f"{path} was trained on whitened pictures, and graphs here only know a mean and a deviation a colour",
            hint="its accuracy is in the log.jsonl of its run; train with whitening=none to use a network",
        )
    return card


def _architecture_of(file: TensorFile, name: str | None, path: Path) -> Architecture:
    guessed = guess_architecture(file.tensors)
    if name is not None:
        return get_architecture(name, guessed.classes if guessed else None)
    if guessed is None:
        raise WeightsError(
            f"{path} holds no network of this family that its tensors' names and shapes would show",
            hint="name one with --architecture to see what differs",
        )
    return guessed


def _card_for(path: Path, architecture: Architecture) -> ModelCard:
    """What can be assumed of a foreign file, and is said in its notes."""
    names = {("cifar", 10): "cifar10", ("cifar", 100): "cifar100", ("imagenet", 1000): "imagenet"}
    return ModelCard(
        name=path.stem,
        architecture=architecture.name,
        classes=architecture.classes,
        preprocess=usual_preprocess(architecture),
        precision="fp32",
        licence="unknown",
        labels_name=names.get((architecture.family, architecture.classes), ""),
        notes={"assumed": "transform and labels are the family's usual ones; the file does not say"},
    )


def usual_preprocess(architecture: Architecture) -> Preprocess:
    """How networks of a family have usually been shown pictures: 32 px and CIFAR's statistics, or 256/224."""
    if architecture.family == "cifar":
        known = STATISTICS["cifar10"]
        return Preprocess(resize=32, crop=32, mean=known.mean, std=known.std)
    return Preprocess(resize=256, crop=224)


def _labels_for(file: Path | None, card: ModelCard, architecture: Architecture) -> Labels:
    if file is not None:
        return read_label_file(file).labels
    if card.labels_name:
        return read_labels(card.labels_name)
    return Labels(tuple(f"class {index}" for index in range(architecture.classes)))
