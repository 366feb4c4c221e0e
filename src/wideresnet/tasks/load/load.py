"""Bundles and classifiers by the name or file of a model.

Every option that describes a model takes effect or is an error:

    model                  weights        architecture   labels
    embedded or bundle     error          compared       replaces
    weights file           error          takes effect   replaces
    ONNX file              error          takes effect   replaces
    published name         takes effect   compared       replaces
    architecture           is the model   compared       replaces
    none                   is the model   takes effect   replaces

``normalise`` replaces the statistics of every model; ``which`` and the fields of a variant are for weights files.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wideresnet.architectures import Activation, Architecture, Pool, Shortcut, get_architecture
from wideresnet.bundle import Bundle, make_bundle, read_bundle, with_alpha
from wideresnet.bundle.files import GRAPH, read_shipped
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import LABEL_LISTS, read_labels
from wideresnet.datasets.labels.formats import read_label_file
from wideresnet.datasets.statistics import check_normalisation, parse_normalisation
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import BundleError, ConfigError, WeightsError, errors_as
from wideresnet.layers import Padding
from wideresnet.prediction_sets import alpha_notes, precision_notes
from wideresnet.records import Alpha, FileFacts, Normalisation
from wideresnet.tasks.load.assumed_card import ASSUMED_LABELS, card_for, usual_labels
from wideresnet.tasks.load.resolve import DEFAULT_MODEL, BundleFolder, WeightsFile, local_source, unpublished
from wideresnet.tasks.load.weights_file import read_file, read_published, refuse_facts
from wideresnet.weights.catalogue import Weights
from wideresnet.weights.read import open_weights

if TYPE_CHECKING:
    from wideresnet.weights.download import Progress


NOTES_OF_CHANGES = "normalisation", "uncertainty"  # of a card: what another preprocessing replaced or dropped


class AssumptionWarning(UserWarning):
    """A fact that a weights file does not state was assumed, or a guarantee does not hold for the settings."""


@dataclass(frozen=True)
class ModelChoice:
    """The model to load, and facts that its name or file does not state.

    ``model`` is a bundle, a weights file (``.onnx`` too), a repository of a model hub (``hf-hub:OWNER/NAME``) or the
    folder of one, a name of the catalogue, or an embedded model; None means the file ``weights`` if there is one, else
    ``DEFAULT_MODEL``. ``weights`` is a file to take the tensors from instead of the published one. ``labels`` is a file
    of class names.
    """

    model: str | None = None
    weights: Path | None = None
    labels: Path | None = None
    offline: bool = False
    facts: FileFacts = field(default_factory=FileFacts)

    @property
    def name(self) -> str:
        """The name or path of the model."""
        if self.model is not None:
            return self.model
        return DEFAULT_MODEL if self.weights is None else str(self.weights)


def load(
    model: str | Path | None = None, *, engine: str = "openvino", precision: Literal["f32", "bf16"] = "f32",
    architecture: str | None = None, weights: str | Path | None = None, labels: str | Path | None = None,
    threads: int = 0, streams: int = 1, alpha: Alpha | None = None, normalise: str | Normalisation | None = None,
    which: str | None = None, activation: Activation | None = None, bn_eps: float | None = None,
    shortcut: Shortcut | None = None, stride_on: Literal["conv1", "conv2"] | None = None,
    padding: Padding | None = None, final_pool: Pool | None = None,
) -> Classifier:  # fmt: skip
    """Open a model: a bundle folder, a weights file, the clone of a hub's repository, or a name.

    Names are those of the catalogue, the embedded model (the default), and ``hf-hub:OWNER/NAME[@REVISION]``.

    ``weights`` is a file to take a published model's tensors from, or alone the model itself; ``architecture`` is the
    one that a weights file must have; ``labels`` is a file of class names. ``engine`` is openvino, onnxruntime or
    pytorch; ``precision`` is that of the arithmetic; ``threads`` 0 means every CPU the process may use. ``streams``
    batches are computed at once: 1 answers one image soonest, several answer many images sooner, and 0 means as many
    as are fastest (as ``wrn bench --tune`` measured, or as the engine decides); only openvino has several. ``alpha``
    "white" lays transparent images on white, "drop" drops the transparency; None: as the card says.

    ``normalise`` is the mean and standard deviation of RGB values in [0, 1]: ``((r, g, b), (r, g, b))``, or a name
    of ``datasets.statistics.NORMALISATIONS``. For weights files, ``which`` chooses among copies ("ema", "live", or
    the beginning of the names), and ``activation`` to ``final_pool`` say what shapes do not show: see ``Architecture``.

    Downloads once. Warns (AssumptionWarning) of what a file does not state, and if probabilities, sets or the rule of a
    cascade are not guaranteed with this ``precision``, ``engine`` or ``alpha``. Raises WrnError, also for an argument
    that has no effect on the model.
    """
    files = [None if path is None else Path(path) for path in (weights, labels)]
    if normalise is not None:
        normalise = parse_normalisation(normalise) if isinstance(normalise, str) else check_normalisation(normalise)
    fields: dict[str, object] = {"activation": activation, "bn_eps": bn_eps, "shortcut": shortcut}
    fields |= {"stride_on": stride_on, "padding": padding, "pool": final_pool}
    variant = {name: value for name, value in fields.items() if value is not None}
    facts = FileFacts(architecture, normalise, which, variant)
    choice = ModelChoice(None if model is None else str(model), files[0], files[1], facts=facts)
    stored = load_with_warnings(choice)
    bundle = with_alpha(stored, alpha)
    options = _options(bundle, engine, EngineOptions(precision, threads), streams)
    # A copy of the bundle: without the parsed graph, which takes as much memory as the graph again.
    classifier = replace(open_classifier(bundle, engine, options), bundle=replace(bundle), options=options)
    changed = [bundle.card.notes.get(key) for key in NOTES_OF_CHANGES if normalise is not None]
    notes = *changed, *alpha_notes(stored.card, alpha), *precision_notes(bundle.card, classifier.engine.info)
    for note in filter(None, notes):
        warnings.warn(note, AssumptionWarning, stacklevel=2)
    return classifier


def _options(bundle: Bundle, engine: str, options: EngineOptions, streams: int) -> EngineOptions:
    """Return engine options with ``streams``, as for ``load``. Raises ConfigError where they have no effect."""
    if not isinstance(streams, Integral) or streams < 0 or (streams != 1 and engine != "openvino"):
        raise ConfigError(f"the engine {engine} has no {streams} streams", hint="leave out streams, or use openvino")
    if streams == 0:
        return throughput_options(bundle, options.precision, options.threads)[0]
    return options if streams == 1 else replace(options, hint="throughput", streams=streams)


def open_classifier(bundle: Bundle, engine: str = "openvino", options: EngineOptions | None = None) -> Classifier:
    """Open ``bundle`` in an engine."""
    return Classifier(bundle.card, bundle.labels, open_engine(bundle, engine, options))


def bundle_of(model: Classifier | str | Path, *, headless: bool = False) -> Bundle:
    """Return the bundle of an open classifier, or of a name as for ``load``, for a caller that is a public function.

    ``headless``: a weights file without a classifier is accepted, for its features. Raises WrnError, also for a
    classifier that was not opened by ``load``.
    """
    if not isinstance(model, Classifier):
        return load_with_warnings(ModelChoice(str(model), facts=FileFacts(headless=headless)), stacklevel=4)
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
    source = local_source(choice.name, offline=choice.offline, progress=progress)
    match source:
        case BundleFolder(folder, embedded):
            _check_weights(choice, "is a bundle, which has weights of its own")
            bundle = read_shipped(folder) if embedded else read_bundle(folder)
            _check_architecture(choice, bundle.card.architecture)
            refuse_facts(choice.name, choice.facts, "bundle")
        case WeightsFile(file):
            _check_weights(choice, "is a weights file itself")
            if file.suffix == ".onnx":
                refuse_facts(choice.name, choice.facts, "ONNX graph")
                bundle = _from_onnx(file, choice)
            else:
                bundle = read_file(file, choice.facts).bundle()
        case Weights():
            bundle = _from_published(source, choice, progress)
        case Architecture():
            if choice.weights is None:
                raise unpublished(source)
            _check_architecture(choice, source.name)
            bundle = read_file(choice.weights, replace(choice.facts, architecture=source.name)).bundle()
    if choice.facts.normalise:
        from wideresnet.bundle.derive import with_normalisation  # imports onnx, which running a model does not need

        bundle = with_normalisation(bundle, choice.facts.normalise)
    card = bundle.card
    if card.files.get(GRAPH) != bundle.sha256:     # made or changed here: one file stands for many networks
        card = replace(card, files=card.files | {GRAPH: bundle.sha256})
    bundle = replace(bundle, card=card, source=str(choice.weights or choice.name))
    return bundle if choice.labels is None else _with_labels(bundle, choice.labels)


def _check_weights(choice: ModelChoice, reason: str) -> None:
    """Raise ConfigError if --weights is given beside a model that has weights."""
    if choice.model is not None and choice.weights is not None:
        hint = f"leave out the model: --weights {choice.weights} alone is one, or leave out --weights"
        raise ConfigError(f"--weights {choice.weights} has no effect on {choice.model}: it {reason}", hint)


def _check_architecture(choice: ModelChoice, architecture: str) -> None:
    """Raise ConfigError if --architecture differs from the model's."""
    if choice.facts.architecture is not None and get_architecture(choice.facts.architecture).name != architecture:
        problem = f"{choice.name} is {architecture}, not {choice.facts.architecture}"
        raise ConfigError(problem, hint="leave out --architecture: it is for weights files that do not show theirs")


def _from_published(weights: Weights, choice: ModelChoice, progress: Progress | None) -> Bundle:
    """Return the bundle of a catalogue entry, with its published tensors or those of the user's file."""
    _check_architecture(choice, weights.architecture)
    refuse_facts(choice.name, replace(choice.facts, which=None) if choice.weights else choice.facts, "published model")
    if choice.weights is None:
        from wideresnet.weights.store import fetch  # with the HTTP client; a local model opens faster without

        path, source = fetch(weights, offline=choice.offline, progress=progress), weights.url
    else:
        path, source = choice.weights, choice.weights.name
    with open_weights(path) as reader:
        model = read_published(weights, reader, path, source, choice.facts)
    bundle = model.bundle()
    if choice.weights is None or model.card.weights_sha256.startswith(weights.sha256_prefix):
        return bundle
    # The file may be the hub's copy of the same tensors or anything else: the published figures are not its own.
    notes = {"identity": f"{choice.weights.name} is not the published file of {weights.name} by its hash"}
    assumed = (f"the preprocessing and class names of {weights.name}: by its hash {choice.weights} is another file",)
    card = replace(bundle.card, published=(), notes=notes, assumed=assumed + bundle.card.assumed)
    return replace(bundle, card=card)


def _from_onnx(path: Path, choice: ModelChoice) -> Bundle:
    """Return the bundle of an ONNX file of another tool: its weights in our graph, with the same logits."""
    from wideresnet.graph.foreign import read_foreign
    from wideresnet.tasks.load.imported_onnx import check_same, input_side, read_onnx

    model, sha256 = read_onnx(path)
    expected = get_architecture(choice.facts.architecture) if choice.facts.architecture else None
    with errors_as(BundleError, BundleError, str(path)):
        architecture, tensors = read_foreign(model, expected)
    card = card_for(path, architecture, side=input_side(model), facts=choice.facts)
    labels = usual_labels(card)
    card = replace(card, weights_source=path.name, weights_sha256=sha256)
    bundle = make_bundle(architecture, tensors, card, labels)
    check_same(path, bundle)
    return bundle


def _with_labels(bundle: Bundle, file: Path) -> Bundle:
    """Return the bundle with the class names of ``file``. Raises ConfigError for another number of them."""
    label_file, classes = read_label_file(file), bundle.card.classes
    labels = label_file.labels
    if len(labels.names) != classes:
        problem = f"{file} has {len(labels.names)} labels for {classes} classes"
        raise ConfigError(problem, hint="give one class a line, in the order of the class index")
    labels_assumed = any(assumption.startswith(ASSUMED_LABELS) for assumption in bundle.card.assumed)
    stated = () if labels_assumed else bundle.labels.names
    if labels.names != stated and sorted(labels.names) == sorted(stated):
        problem = f"{file} has the class names of {bundle.card.name} in another order"
        raise ConfigError(problem, hint="write them in the order of the network's outputs")
    if stated and labels.ids and bundle.labels.ids and labels.ids != bundle.labels.ids:
        problem = f"{file} has other class ids than {bundle.card.name}, or the same in another order"
        raise ConfigError(problem, hint="write them in the order of the network's outputs")
    assumed = [assumption for assumption in bundle.card.assumed if not assumption.startswith(ASSUMED_LABELS)]
    assumed += [f"{ASSUMED_LABELS} {note}" for note in label_file.notes]
    lists = (name for name in LABEL_LISTS if (listed := read_labels(name)).names == labels.names or listed == labels)
    card = replace(bundle.card, labels_name=next(lists, ""), assumed=tuple(assumed))
    return replace(bundle, card=card, labels=labels)
