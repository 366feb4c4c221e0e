"""Bundles from weights files: what they state, what lies beside them, and what remains to be assumed; and the way back.

The networks for ImageNet have torchvision's and timm's names of tensors, so that one state dict serves all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from wideresnet.architectures import describe_variant, get_architecture
from wideresnet.bundle import Bundle, make_bundle, network_of
from wideresnet.bundle.files import parse_card
from wideresnet.datasets.labels import format_labels, numbered_names, parse_labels, read_labels
from wideresnet.errors import ConfigError, WeightsError, check_choice, check_extra, errors_as
from wideresnet.output.atomic import check_file, save_bytes, save_text
from wideresnet.records import FileFacts, Labels, ModelCard
from wideresnet.tasks.load.assumed_card import ASSUMED_LABELS, card_for, left_out, option_of, stated_names, usual_labels
from wideresnet.tasks.load.hub import repository_of
from wideresnet.tasks.load.hub_config import FUNCTIONS, NAME, HubConfig, config_text, read_config
from wideresnet.tasks.load.resolve import WeightsFile, resolve_model
from wideresnet.weights.catalogue import CATALOGUE, Weights
from wideresnet.weights.read import WeightsReader, open_weights
from wideresnet.weights.recognise import Recognised, recognise
from wideresnet.weights.stem import stem_of

NO_CALIBRATION = "the calibration is not in the file, which holds weights alone: 'wrn calibrate' makes a new one"
# In the metadata of a safetensors file written here: the card, and the labels as a bundle's labels.txt.
CARD_KEY, LABELS_KEY = "wideresnet.card", "wideresnet.labels"
_CARD = TypeAdapter(ModelCard)


@dataclass(frozen=True, eq=False)
class FileModel:
    """The content of a weights file."""

    network: Recognised
    card: ModelCard
    labels: Labels

    def bundle(self) -> Bundle:
        """Return the bundle in memory."""
        network = self.network
        bundle = make_bundle(network.architecture, network.tensors, self.card, self.labels)
        return replace(bundle, stem=stem_of(network.architecture, network.tensors))


def read_file(path: Path, facts: FileFacts) -> FileModel:
    """Return the model of a weights file, identified by its hash, its card, or its tensors. Raises WrnError."""
    with open_weights(path) as reader:
        for weights in CATALOGUE.values():
            if reader.sha256.startswith(weights.sha256_prefix):
                refuse_facts(path, facts, f"published file of {weights.name}")
                return read_published(weights, reader, path, str(path), facts)
        card = _card_inside(path, reader.metadata)
        network = _recognise(path, reader, facts, card)
        classes = 0 if network.headless else network.architecture.classes
        if classes < 2 and not facts.headless:
            kind = "one output, the likeliest of any image" if classes else "no classifier (features only)"
            raise WeightsError(f"{path} has {kind}", hint="'wrn embed' and 'wrn finetune' take it as it is")
        config = read_config(path, network.architecture, classes) if card is None else None
        notes: list[str] = []
        count = network.architecture.classes
        names = stated_names(reader.facts, count)
        if config and config.labels:
            if names is None or names not in ((), config.labels.names):
                notes.append(f"{ASSUMED_LABELS} those of config.json, not those in the file")
            names = ()
        if names is None:
            names = numbered_names(count)
            reason = f"contradict each other, have no order, are in an array or are not {count}"
            notes.append(f"{ASSUMED_LABELS} numbers, not those in the file, which {reason}")
        if names:
            config = HubConfig(Labels(names), config.preprocess if config else None)
        if card is None:
            card = card_for(path, network.architecture, network=network, config=config, facts=facts)
        labels = config.labels if config and config.labels else usual_labels(card)
        if LABELS_KEY in reader.metadata:
            labels = parse_labels(reader.metadata[LABELS_KEY])
        if "recipe.architecture" in reader.facts:  # a checkpoint of ``wrn train`` or ``wrn finetune``
            notes.append("a training state has no preprocessing and no class names: the finished model has both")
        notes += _remarks(network)
        if reader.cut:
            notes.append(f"{reader.cut:,} values of the checkpoint were not looked at")
        repository, commit = repository_of(path)
        source = card.weights_source or (f"hf-hub:{repository}@{commit}" if repository else path.name)
        card = replace(card, assumed=card.assumed + tuple(notes), weights_source=source, weights_sha256=reader.sha256)
        return FileModel(network, card, labels)


def refuse_facts(name: object, facts: FileFacts, kind: str) -> None:
    """Raise ConfigError if facts about a weights file are given for a model that states its own."""
    if names := [*facts.variant, *(["which"] if facts.which else [])]:
        options = ", ".join(map(option_of, names))
        raise ConfigError(f"{name} is a {kind} and states what {options} would say", hint=f"leave out {options}")


def _remarks(network: Recognised) -> list[str]:
    """Return what is to be said of the copy of the weights that was taken."""
    average = f"weights: the moving average, {network.copy.rstrip('.')} of the checkpoint"
    return [*([average] if network.averaged else []), *network.remarks]


def read_published(weights: Weights, reader: WeightsReader, path: Path, source: str, facts: FileFacts) -> FileModel:
    """Return the model of a catalogue entry with the tensors of ``path``; of ``facts`` the architecture and the copy.

    Raises WeightsError if they do not fit, or are not of the architecture that the user states.
    """
    stated = FileFacts(architecture=facts.architecture or weights.architecture, which=facts.which)
    network = _recognise(path, reader, stated)
    classes = get_architecture(weights.architecture).classes
    if network.headless or network.architecture.classes != classes:
        count = "no classifier" if network.headless else f"{network.architecture.classes} classes"
        problem = f"{path} has {count}, {weights.name} has {classes} classes"
        raise WeightsError(problem, hint=f"give the file as the model: -m {path}")
    notes, statistics = [*_remarks(network), *left_out(network)], (weights.preprocess.mean, weights.preprocess.std)
    if network.origin.normalisation and not np.allclose(network.origin.normalisation, statistics, atol=1e-4):
        notes.append("preprocessing: the mean and std that the file states are not used")
    card = ModelCard(
        name=weights.name, architecture=weights.architecture, classes=classes, preprocess=weights.preprocess,
        precision="fp32", licence=weights.licence, weights_source=source, weights_sha256=reader.sha256,
        labels_name=weights.labels, published=weights.published, assumed=tuple(notes),
    )  # fmt: skip
    return FileModel(network, card, read_labels(weights.labels))


def _recognise(path: Path, reader: WeightsReader, facts: FileFacts, card: ModelCard | None = None) -> Recognised:
    """Return the network in a file. Raises WeightsError unless it is of the architecture in ``facts``, if one is.

    ``card`` states the whole variant, as far as ``facts`` do not.
    """
    with errors_as(WeightsError, WeightsError, str(path)):
        network = recognise(reader, facts.which, {**(card.variant if card else {}), **facts.variant}, card is not None)
    architecture = network.architecture
    if facts.architecture is not None and (name := get_architecture(facts.architecture).name) != architecture.name:
        problem = f"{path} holds {architecture.name} with {architecture.classes} classes, not {name}"
        raise WeightsError(problem, hint=f"leave out --architecture, or give {architecture.name}")
    if card and card.architecture != architecture.name:
        raise WeightsError(f"{path} holds {architecture.name}, and the card of another network", hint="save it without")
    return network


def _card_inside(path: Path, metadata: Mapping[str, str]) -> ModelCard | None:
    if CARD_KEY not in metadata:
        return None
    card = parse_card(metadata[CARD_KEY], f"the card inside {path}", WeightsError)
    if "whitening" in card.notes:
        hint = "its accuracy is in the log.jsonl of its run; train with whitening=none to use a network"
        raise WeightsError(f"{path} was trained on whitened images, which model graphs do not support", hint)
    return card


def file_metadata(card: ModelCard, labels: Labels) -> dict[str, str]:
    """Return the metadata of a safetensors file. Raises DataError for labels that have control characters."""
    return {CARD_KEY: _CARD.dump_json(card).decode(), LABELS_KEY: format_labels(labels)}


def check_weights_target(path: Path, library: str, *models: str | Path | None) -> None:
    """Raise ConfigError if ``path`` cannot be written or has no suffix of weights, and for an unknown library.

    ConfigError too if it is the file, or may be a shard, of one of the ``models`` to read, names or paths.
    MissingExtra for .pth without torch.

    Only a safetensors file holds a card: the others are for torchvision and timm.
    """
    check_choice("library", library, ("safetensors", "torchvision", "timm"))
    check_file(path)
    suffixes = [".safetensors", *([] if library == "safetensors" else [".pth", ".pt", ".bin"])]
    if path.suffix not in suffixes:
        raise ConfigError(f"{path} does not end in {' or '.join(suffixes)}", hint=f"name it {path}.safetensors")
    for source in [resolve_model(str(name)) for name in models if name and path.exists() and Path(name).exists()]:
        if isinstance(source, WeightsFile):
            is_shard = source.path.suffix == ".json" and path.parent.samefile(source.path.parent)
            if is_shard or path.samefile(source.path):
                raise ConfigError(f"{path} would overwrite the model that it is made from", "name another with -o")
    if path.suffix != suffixes[0]:
        check_extra(f"a {path.suffix} file", "train", "torch")


def _fits_config(path: Path, bundle: Bundle) -> bool:
    """Return whether a file that is written as ``path`` is read back as ``bundle`` beside the config.json there.

    A safetensors file has a card, which goes before it.
    """
    if path.suffix == ".safetensors":
        return True
    try:
        config = read_config(path, network_of(bundle.card), bundle.card.classes) or HubConfig(None, None)
    except (ConfigError, WeightsError):
        return False
    has_labels = config.labels is None or config.labels.names == bundle.labels.names
    return has_labels and config.preprocess in (None, replace(bundle.card.preprocess, alpha="drop"))


def write_file(path: Path, bundle: Bundle, library: str) -> list[str]:
    """Write the weights of ``bundle`` as a float32 state dict for "torchvision", "timm", or "safetensors" (here).

    Batch norms are equivalents with mean 0, because the graph does not hold the originals. A safetensors file has the
    card and the labels in its metadata. For timm, config.json goes beside a file that is alone in its folder. Returns
    notes. Raises ConfigError for a network that the library does not have, and where another model's config.json is;
    BundleError for an int8 model.
    """
    from wideresnet.bundle.derive import read_weights, uncalibrated  # import onnx, which running a model does not need

    notes = [NO_CALIBRATION] if bundle.card.uncertainty else []
    bundle = uncalibrated(bundle)
    card, config = bundle.card, path.with_name(NAME)
    if library != "safetensors" and (card.variant or card.architecture not in FUNCTIONS):
        network = f"{card.architecture} (variant: {describe_variant(card.variant)})"
        raise ConfigError(f"{library} has no {network}", hint="write it with --format safetensors")
    text = config_text(FUNCTIONS[card.architecture], bundle) if library == "timm" else ""
    is_own = config.is_file() and config.read_bytes() == text.encode() if text else _fits_config(path, bundle)
    if config.exists() and not is_own:
        raise ConfigError(f"{config} describes another model", hint="name a file in a new folder with -o")
    if library == "timm" and card.preprocess.interpolation.startswith("opencv-"):
        notes.append("timm has no resize of OpenCV: its config.json says bilinear, which gives other pixels")
    if library != "safetensors" and card.preprocess.alpha != "drop":
        notes.append(f"{library} drops transparency: this network takes transparent images on {card.preprocess.alpha}")
    alone = {file.name for file in path.parent.glob("[!.]*")} <= {path.name, NAME}
    tensors: dict[str, object] = dict(read_weights(bundle))
    if path.suffix == ".safetensors":
        from safetensors.numpy import save

        data = save(tensors, {"format": "pt", **file_metadata(card, bundle.labels)})
    else:
        from wideresnet.models.create import state_dict_bytes

        data = state_dict_bytes(tensors)
    save_bytes(path, data)
    if text and alone:
        save_text(config, text)
    return [*notes, f"no {NAME} written: {path.parent} has other files"] if text and not alone else notes
