"""Bundles and classifiers by the name or file of a model.

Every option that describes a model takes effect or is an error:

    model                  weights        architecture   labels
    embedded or bundle     error          compared       replaces
    weights file           error          takes effect   replaces
    ONNX file              error          takes effect   replaces
    published name         takes effect   compared       replaces
    architecture           is the model   compared       replaces
    none                   is the model   takes effect   replaces
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter, ValidationError

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.bundle import Bundle, make_bundle, read_bundle, with_alpha
from wideresnet.bundle.files import read_shipped
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import LABEL_LISTS, parse_labels, read_labels
from wideresnet.datasets.labels.formats import read_label_file
from wideresnet.datasets.statistics import STATISTICS
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.errors import BundleError, ConfigError, WeightsError
from wideresnet.records import Alpha, Labels, ModelCard, Preprocess
from wideresnet.tasks.load.resolve import DEFAULT_MODEL, BundleFolder, WeightsFile, resolve_model, unpublished
from wideresnet.weights.catalogue import CATALOGUE, Weights
from wideresnet.weights.guess import guess_architecture
from wideresnet.weights.keymaps import fit_tensors
from wideresnet.weights.read import TensorFile, read_tensors, sha256_of

if TYPE_CHECKING:
    from wideresnet.weights.download import Progress

# In the metadata of a safetensors file written here: the card, and the labels as a bundle's labels.txt.
CARD_KEY, LABELS_KEY = "wideresnet.card", "wideresnet.labels"
ASSUMED_LABELS = "class names:"
_CARD = TypeAdapter(ModelCard)


class AssumptionWarning(UserWarning):
    """A fact that a weights file does not state was assumed."""


@dataclass(frozen=True)
class ModelChoice:
    """The model to load, and facts that its name or file does not state.

    ``model`` is a bundle, a weights file (``.onnx`` too), a name of the catalogue, or an embedded model; None means
    the file ``weights`` if there is one, else ``DEFAULT_MODEL``. ``weights`` is a file to take the tensors from
    instead of the published one. ``architecture`` is for weights files that do not show it, ``labels`` a file of
    class names.
    """

    model: str | None = None
    weights: Path | None = None
    architecture: str | None = None
    labels: Path | None = None
    offline: bool = False

    @property
    def name(self) -> str:
        """The name or path of the model."""
        if self.model is not None:
            return self.model
        return DEFAULT_MODEL if self.weights is None else str(self.weights)


def load(
    model: str | Path | None = None,
    *,
    engine: str = "openvino",
    precision: Literal["f32", "bf16"] = "f32",
    architecture: str | None = None,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    threads: int = 0,
    alpha: Alpha | None = None,
) -> Classifier:
    """Open a model: a bundle folder, a weights file, a catalogue name, or an embedded model (the default).

    ``weights`` is a file to take a published model's tensors from, or alone the model itself; ``architecture`` is for
    weights files that do not show it; ``labels`` is a file of class names. ``engine`` is openvino, onnxruntime or
    pytorch; ``precision`` is that of the arithmetic; ``threads`` 0 means every CPU the process may use. ``alpha``
    "white" lays transparent images on white, "drop" drops the transparency; None: as the card says. Downloads
    published weights once. Warns (AssumptionWarning) of what a file does not state. Raises WrnError, also for an
    argument that has no effect on the model.
    """
    names = [None if path is None else Path(path) for path in (weights, labels)]
    choice = ModelChoice(None if model is None else str(model), names[0], architecture, names[1])
    bundle = with_alpha(load_with_warnings(choice), alpha)
    options = EngineOptions(precision, threads)
    # A copy of the bundle: without the parsed graph, which takes as much memory as the graph again.
    return replace(open_classifier(bundle, engine, options), bundle=replace(bundle), options=options)


def open_classifier(bundle: Bundle, engine: str = "openvino", options: EngineOptions | None = None) -> Classifier:
    """Open ``bundle`` in an engine."""
    return Classifier(bundle.card, bundle.labels, open_engine(bundle, engine, options))


def bundle_of(model: Classifier | str | Path) -> Bundle:
    """Return the bundle of an open classifier, or of a name as for ``load``, for a caller that is a public function.

    Raises WrnError, also for a classifier that was not opened by ``load``.
    """
    if not isinstance(model, Classifier):
        return load_with_warnings(ModelChoice(str(model)), stacklevel=4)
    if model.bundle is None:
        raise ConfigError("this classifier has no graph", hint="open it with 'wideresnet.load'")
    return model.bundle


def load_with_warnings(choice: ModelChoice, stacklevel: int = 3) -> Bundle:
    """``load_bundle`` for Python callers: assumptions on the card become an AssumptionWarning."""
    bundle = load_bundle(choice)
    if bundle.card.assumed:
        warnings.warn(assumptions(choice.name, bundle.card.assumed), AssumptionWarning, stacklevel=stacklevel)
    return bundle


def assumptions(name: str, assumed: Sequence[str]) -> str:
    """Return one line with the assumptions about a model that its files do not state."""
    return f"assumed for {name}: {'; '.join(assumed)}"


def load_bundle(choice: ModelChoice, progress: Progress | None = None) -> Bundle:
    """Return the bundle that ``choice`` names, built in memory where it is not one already. Raises WrnError."""
    if choice.model is None and choice.weights is not None and not choice.weights.exists():
        hint = "check the path of the file"
        raise WeightsError(f"cannot read the weights file {choice.weights}: no such file or directory", hint)
    source = resolve_model(choice.name)
    match source:
        case BundleFolder(folder, embedded):
            _check_weights(choice, "is a bundle, which has weights of its own")
            bundle = read_shipped(folder) if embedded else read_bundle(folder)
            _check_architecture(choice, bundle.card.architecture)
        case WeightsFile(file):
            _check_weights(choice, "is a weights file itself")
            bundle = _from_onnx(file, choice) if file.suffix == ".onnx" else _from_file(file, choice)
        case Weights():
            bundle = _from_published(source, choice, progress)
        case Architecture():
            if choice.weights is None:
                raise unpublished(source)
            _check_architecture(choice, source.name)
            bundle = _from_file(choice.weights, replace(choice, architecture=source.name))
    return bundle if choice.labels is None else _with_labels(bundle, choice.labels)


def _check_weights(choice: ModelChoice, reason: str) -> None:
    """Raise ConfigError if --weights is given beside a model that has weights."""
    if choice.model is not None and choice.weights is not None:
        raise ConfigError(
            f"--weights {choice.weights} has no effect on {choice.model}: it {reason}",
            hint=f"leave out the model: --weights {choice.weights} alone is one, or leave out --weights",
        )


def _check_architecture(choice: ModelChoice, architecture: str) -> None:
    """Raise ConfigError if --architecture differs from the model's."""
    if choice.architecture is not None and get_architecture(choice.architecture).name != architecture:
        raise ConfigError(
            f"{choice.name} is {architecture}, not {choice.architecture}",
            hint="leave out --architecture: it is for weights files that do not show theirs",
        )


def _from_published(weights: Weights, choice: ModelChoice, progress: Progress | None) -> Bundle:
    """Return the bundle of a catalogue entry, with its published tensors or those of the user's file."""
    _check_architecture(choice, weights.architecture)
    if choice.weights is None:
        from wideresnet.weights.store import fetch  # with the HTTP client; a local model opens faster without

        file = read_tensors(fetch(weights, offline=choice.offline, progress=progress))
        return _from_catalogue(weights, file, weights.urls[0])
    file = read_tensors(choice.weights)
    bundle = _from_catalogue(weights, file, choice.weights.name)
    if file.sha256.startswith(weights.sha256_prefix):
        return bundle
    # The file may be the hub's copy of the same tensors or anything else: the published figures are not its own.
    notes = {"identity": f"{choice.weights.name} is not the published file of {weights.name} by its hash"}
    assumed = (f"the preprocessing and class names of {weights.name}: by its hash {choice.weights} is another file",)
    return replace(bundle, card=replace(bundle.card, published=(), notes=notes, assumed=assumed))


def _from_catalogue(weights: Weights, file: TensorFile, source: str) -> Bundle:
    architecture = get_architecture(weights.architecture)
    card = ModelCard(
        name=weights.name,
        architecture=weights.architecture,
        classes=architecture.classes,
        preprocess=weights.preprocess,
        precision="fp32",
        licence=weights.licence,
        weights_source=source,
        weights_sha256=file.sha256,
        labels_name=weights.labels,
        published=weights.published,
    )
    tensors = fit_tensors(file.tensors, architecture)
    return make_bundle(architecture, tensors, card, read_labels(weights.labels))


def _from_file(path: Path, choice: ModelChoice) -> Bundle:
    """Return the bundle of a weights file, identified by its hash, its card, or its tensors and the options."""
    file = read_tensors(path)
    for weights in CATALOGUE.values():
        if file.sha256.startswith(weights.sha256_prefix):
            _check_architecture(choice, weights.architecture)
            return _from_catalogue(weights, file, str(path))
    card = _card_inside(path, file.metadata)
    name = choice.architecture or (card.architecture if card else None)
    architecture = _architecture_of(file, name, path)
    if card is None:
        card = _card_for(path, architecture)
    labels = parse_labels(file.metadata[LABELS_KEY]) if LABELS_KEY in file.metadata else _usual_labels(card)
    if "ema" in file.wrapper:
        card = replace(card, assumed=(*card.assumed, f"weights: the moving average, {file.wrapper} of the checkpoint"))
    card = replace(card, weights_source=card.weights_source or path.name, weights_sha256=file.sha256)
    return make_bundle(architecture, fit_tensors(file.tensors, architecture), card, labels)


def _from_onnx(path: Path, choice: ModelChoice) -> Bundle:
    """Return the bundle of an ONNX file of another tool: its weights in our graph, with the same logits."""
    from wideresnet.graph.foreign import read_foreign
    from wideresnet.tasks.load.imported_onnx import check_same, input_side, read_onnx

    model = read_onnx(path)
    expected = get_architecture(choice.architecture) if choice.architecture else None
    try:
        architecture, tensors = read_foreign(model, expected)
    except BundleError as error:
        raise BundleError(f"{path} is {error.message}", error.hint) from error
    card = _card_for(path, architecture, input_side(model))
    labels = _usual_labels(card)
    card = replace(card, weights_source=path.name, weights_sha256=sha256_of(path))
    bundle = make_bundle(architecture, tensors, card, labels)
    check_same(path, bundle)
    return bundle


def _card_inside(path: Path, metadata: Mapping[str, str]) -> ModelCard | None:
    if CARD_KEY not in metadata:
        return None
    try:
        card = _CARD.validate_python(json.loads(metadata[CARD_KEY]))
    except (ConfigError, ValidationError, json.JSONDecodeError) as error:
        raise WeightsError(f"the card inside {path} cannot be read: {error}") from error
    if "whitening" in card.notes:
        raise WeightsError(
            f"{path} was trained on whitened images, which model graphs do not support",
            hint="its accuracy is in the log.jsonl of its run; train with whitening=none to use a network",
        )
    return card


def _architecture_of(file: TensorFile, name: str | None, path: Path) -> Architecture:
    guessed = guess_architecture(file.tensors)
    if name is not None:
        return get_architecture(name, guessed.classes if guessed else None)
    if guessed is None:
        raise WeightsError(
            f"cannot determine the architecture from the tensor names and shapes in {path}",
            hint="'wrn export --architecture NAME' shows what differs",
        )
    return guessed


def _card_for(path: Path, architecture: Architecture, side: int = 0) -> ModelCard:
    """Return the card of a file without one; ``assumed`` lists what the file does not state.

    ``side``: input pixels; 0: as usual for the architecture.
    """
    names = {("cifar", 10): "cifar10", ("cifar", 100): "cifar100", ("imagenet", 1000): "imagenet"}
    labels_name, spec = names.get((architecture.family, architecture.classes), ""), usual_preprocess(architecture)
    return ModelCard(
        name=path.stem,
        architecture=architecture.name,
        classes=architecture.classes,
        preprocess=spec.at(side),
        precision="fp32",
        licence="unknown",
        labels_name=labels_name,
        assumed=(_assumed_preprocess(spec.at(side)), _assumed_labels(labels_name, architecture.classes)),
    )


def _assumed_preprocess(spec: Preprocess) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    return f"preprocessing: resize {spec.resize}, centre crop {spec.crop}, mean {mean}, std {std}"


def _assumed_labels(labels_name: str, classes: int) -> str:
    names = f"those of {labels_name}" if labels_name else "none, so numbers"
    return f"{ASSUMED_LABELS} {names} (for {classes} classes)"


def usual_preprocess(architecture: Architecture) -> Preprocess:
    """Return the usual preprocessing of a family: 32 px with CIFAR-10's statistics, or 256/224 px."""
    if architecture.family == "cifar":
        cifar = STATISTICS["cifar10"]
        return Preprocess(resize=32, crop=32, mean=cifar.mean, std=cifar.std)
    return Preprocess(resize=256, crop=224)


def _usual_labels(card: ModelCard) -> Labels:
    if card.labels_name:
        return read_labels(card.labels_name)
    return Labels(tuple(f"class {index}" for index in range(card.classes)))


def _with_labels(bundle: Bundle, file: Path) -> Bundle:
    """Return the bundle with the class names of ``file``. Raises ConfigError for another number of them."""
    label_file, classes = read_label_file(file), bundle.card.classes
    labels = label_file.labels
    if len(labels.names) != classes:
        raise ConfigError(
            f"{file} has {len(labels.names)} labels for {classes} classes",
            hint="give one class a line, in the order of the class index",
        )
    labels_assumed = any(assumption.startswith(ASSUMED_LABELS) for assumption in bundle.card.assumed)
    stated = () if labels_assumed else bundle.labels.names
    if labels.names != stated and sorted(labels.names) == sorted(stated):
        raise ConfigError(
            f"{file} has the class names of {bundle.card.name} in another order",
            hint="write them in the order of the network's outputs",
        )
    assumed = [assumption for assumption in bundle.card.assumed if not assumption.startswith(ASSUMED_LABELS)]
    assumed += [f"{ASSUMED_LABELS} {note}" for note in label_file.notes]
    lists = (name for name in LABEL_LISTS if (listed := read_labels(name)).names == labels.names or listed == labels)
    card = replace(bundle.card, labels_name=next(lists, ""), assumed=tuple(assumed))
    return replace(bundle, card=card, labels=labels)
