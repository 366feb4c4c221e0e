"""Bundles on disk: written completely or not at all, and checked against their card when opened."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from wideresnet.bundle.bundle import MEMBERS, Bundle
from wideresnet.datasets.labels import format_labels, parse_labels
from wideresnet.errors import BundleError, ConfigError, DataError, WrnError, did_you_mean, errors_as, os_errors_as
from wideresnet.output.atomic import atomic_folder, check_folder, restore_folder
from wideresnet.records import Cascade, ModelCard, Preprocess

GRAPH, CARD, LABELS = "model.onnx", "card.json", "labels.txt"
_CARD = TypeAdapter(ModelCard)


def is_bundle(path: Path) -> bool:
    """Return True if ``path`` is a folder with a card, restored first if replacing it was interrupted."""
    restore_folder(path)
    return (path / CARD).is_file()


def write_bundle(folder: Path, bundle: Bundle) -> ModelCard:
    """Write ``bundle`` as ``folder``, in one move; an older bundle there is replaced.

    Returns the card as written, with the hashes of the files. Raises BundleError when ``folder`` has
    other files than those of a bundle, which would be lost, and when writing fails.
    """
    check_target(folder)
    card, contents = _contents(bundle)
    with os_errors_as(BundleError, f"cannot write the bundle {folder}"), atomic_folder(folder) as part:
        for name, data in contents.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(data)
    return card


def _contents(bundle: Bundle) -> tuple[ModelCard, dict[str, bytes]]:
    """Return the card as it is written, and the content of every file by its path in the folder."""
    labels = format_labels(bundle.labels).encode()
    contents, files = {LABELS: labels}, {LABELS: _sha256(labels)}
    for number, member in enumerate(bundle.members):
        folder = f"{MEMBERS}/{number}"
        contents |= {f"{folder}/{name}": data for name, data in _contents(member)[1].items()}
        files[f"{folder}/{CARD}"] = _sha256(contents[f"{folder}/{CARD}"])
    if not bundle.members:
        contents, files = {GRAPH: bundle.graph, **contents}, {GRAPH: bundle.sha256, **files}
    card = replace(bundle.card, files=files)
    absent = {name for name in ("uncertainty", "cascade") if getattr(card, name) is None}      # as cards always were
    return card, {**contents, CARD: _CARD.dump_json(card, indent=2, exclude=absent) + b"\n"}


def check_target(folder: Path, *models: str | Path | None) -> None:
    """Raise BundleError where ``folder`` has other files than those of a bundle, ConfigError as ``check_folder``.

    ConfigError too if one of the ``models`` to read, names or paths, is in it.
    """
    for model in (Path(name) for name in models if name):
        if model.exists() and folder.resolve() in (model.resolve(), *model.resolve().parents):
            raise ConfigError(f"{folder} would overwrite the model that it is made from", "name another with -o")
    own, hint = {GRAPH, CARD, LABELS, MEMBERS} if is_bundle(folder) else set[str](), "name another folder with -o"
    if folder.exists() and (not folder.is_dir() or {path.name for path in folder.iterdir()} - own):
        raise BundleError(f"{folder} is there already and is no bundle, or has other files", hint)
    check_folder(folder)


def read_bundle(folder: Path) -> Bundle:
    """Open a bundle, check every file against the hash in its card, and the card against the graph.

    Raises BundleError when a file is missing, unreadable, or not the one the card names, when the card or the labels
    contradict the graph, and for weights that are NaN or infinite.
    """
    from wideresnet.bundle.check import check_bundle  # with onnx; whoever only asks for names starts sooner

    bundle = read_shipped(folder)
    for member in bundle.members or (bundle,):
        check_bundle(member, str(member.folder))
    return bundle


def read_shipped(folder: Path) -> Bundle:
    """Open a bundle without checking its graph: for the models inside the package, which tests check."""
    try:
        card = parse_card((folder / CARD).read_bytes(), str(folder / CARD))
        contents = {name: (folder / name).read_bytes() for name in ((LABELS,) if card.cascade else (GRAPH, LABELS))}
    except OSError as error:
        raise BundleError(f"{folder} is not a complete bundle: {error.strerror}: {error.filename}") from error
    if not card.assumed and "assumed" in card.notes:        # where bundles of before November 2026 say it
        card = replace(card, assumed=(card.notes["assumed"],))
    _check_hash(folder / LABELS, _sha256(contents[LABELS]), card)
    with errors_as((UnicodeDecodeError, DataError), BundleError, f"{folder / LABELS} is not a list of labels", hint=""):
        labels = parse_labels(contents[LABELS].decode())
    if card.cascade:
        return Bundle(card, labels, b"", folder=folder, members=_read_members(folder, card, card.cascade))
    bundle = Bundle(card, labels, contents[GRAPH], folder=folder)
    _check_hash(folder / GRAPH, bundle.sha256, card)
    return bundle


def parse_card(data: bytes | str, name: str, kind: type[WrnError] = BundleError) -> ModelCard:
    """Return the card ``name`` from JSON. Raises ``kind`` for another document, and for numbers that are not finite."""
    try:
        card = _CARD.validate_json(data)
        with errors_as(ValueError, ConfigError, "it has a number that is NaN or infinite"):
            document = from_json(data, allow_inf_nan=False)
        for kind_of_part, part in ((ModelCard, document), (Preprocess, document["preprocess"])):
            names = [field.name for field in fields(kind_of_part)]
            if unknown := [key for key in part if key not in names]:
                raise ConfigError(f"it has no field {unknown[0]!r}", did_you_mean(unknown[0], names))
        figures = [(0, row.top1, row.top5, 1) for row in card.published]
        figures += [(0, row.correct1, row.correct5, row.n or -1) for row in card.measured]
        if any(list(row) != sorted(row) for row in figures):
            raise ConfigError("its accuracies are not fractions of 1, or of no images", "write 0.784 for 78.4 %")
        return card
    except (ConfigError, ValueError) as error:
        reason = first_fault(error) if isinstance(error, ValidationError) else error
        raise kind(f"{name} is no card of a model: {reason}", getattr(error, "hint", "")) from error


def _read_members(folder: Path, card: ModelCard, cascade: Cascade) -> tuple[Bundle, ...]:
    """Open the networks of a cascade. Raises BundleError for others than it was certified with."""
    members = []
    for number, stated in enumerate(cascade.members):
        path, beside = folder / MEMBERS / str(number), folder.parent / stated.name
        if not path.exists() and is_bundle(beside):      # the package stores a network once
            path = beside
        member = read_shipped(path)
        _check_hash(path / CARD, _sha256((path / CARD).read_bytes()), card, f"{MEMBERS}/{number}/{CARD}")
        if member.members or (member.sha256, member.card.preprocess) != (stated.sha256, stated.preprocess):
            hint = "write the cascade again with 'wrn cascade'"
            raise BundleError(f"{path} is not the network that {folder} was certified with", hint)
        members.append(member)
    return tuple(members)


def _check_hash(path: Path, sha256: str, card: ModelCard, name: str = "") -> None:
    """Raise BundleError unless ``card`` states this hash for the file; ``name``: its path in the folder of the card."""
    if sha256 != card.files.get(name or path.name):
        hint = "export the bundle again, or copy it again from where it came"
        raise BundleError(f"{path} is not the file that the bundle was written with", hint)


def first_fault(error: ValidationError) -> str:
    """Return the first wrong field and its fault; the fault alone where no field is wrong but the document."""
    fault = error.errors()[0]
    field = ".".join(map(str, fault["loc"]))
    return f"{field}: {fault['msg']}" if field else fault["msg"]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
