"""Resolution of a model name to the bundle, file, published weights or architecture that it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from wideresnet.architectures import Architecture, get_architecture, normalise_name
from wideresnet.bundle import is_bundle
from wideresnet.bundle.files import CARD, GRAPH
from wideresnet.errors import ConfigError, UnknownNameError, did_you_mean
from wideresnet.tasks.load.hub import FILES, HubRepository, fetch_repository, parse_repository
from wideresnet.tasks.load.hub_config import NAME as CONFIG
from wideresnet.weights.catalogue import CATALOGUE, DEFAULTS, Weights, find_weights

if TYPE_CHECKING:
    from wideresnet.weights.download import Progress

EMBEDDED = ("wrn_16_4.cifar10", "wrn_16_1.cifar10", "cifar10.cascade", "wrn_16_4.cifar100")
DEFAULT_MODEL = EMBEDDED[0]
# Names of weights in a folder of a model hub, best first; others are given by their path.
HUB_FILES = (*FILES, "*.index.json")
# Endings that make a name a path, whether it exists or not.
FILE_ENDINGS = {
    ".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".npz", ".pkl", ".json", ".onnx", ".xml",
}  # fmt: skip


@dataclass(frozen=True)
class BundleFolder:
    """The folder of a bundle; ``embedded``: inside the package."""

    path: Path
    embedded: bool = False


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights of any kind, or the index of its shards."""

    path: Path


LocalSource = BundleFolder | WeightsFile | Weights | Architecture


def resolve_model(name: str) -> LocalSource | HubRepository:
    """Return what ``name`` stands for; only the file system and the tables of names are read.

    In this order: a repository of a model hub (``hf-hub:OWNER/NAME``), an embedded model, a bundle folder or a file in
    one, a weights file or the folder of a model hub with one (``HUB_FILES`` beside a config.json), published weights,
    an architecture without published weights.
    Raises ConfigError for anything else; UnknownNameError, with the closest name, where it is not a path.
    """
    if not name:
        raise ConfigError("the name of the model is empty", hint="'wrn models' lists the names")
    if repository := parse_repository(name):
        return repository
    path = embedded_folder(name) if name in EMBEDDED else Path(name)
    folders = (path, path.parent) if path.name in (GRAPH, CARD) else (path,)
    for folder in filter(is_bundle, folders):
        return BundleFolder(folder, name in EMBEDDED)
    is_hub = (path / CONFIG).is_file()
    files = [file for form in HUB_FILES for file in sorted(path.glob(form))] if is_hub else [path]
    if files and files[0].is_file():
        return WeightsFile(files[0])
    _check_existing(path)
    if weights := find_weights(name):
        return weights
    if path.suffix.lower() in FILE_ENDINGS or len(path.parts) > 1:
        hint = "check the path, or give a name of 'wrn models'"
        if len(path.parts) == 2 and path.suffix.lower() not in FILE_ENDINGS and not path.parent.exists():
            hint += f", or for a repository on the hub hf-hub:{path}"
        raise ConfigError(f"no model at {path}: no such file or directory", hint)
    try:
        return get_architecture(name)
    except UnknownNameError as error:
        # A name with a tag is compared with names that have one.
        names = [*EMBEDDED, *CATALOGUE] if "." in name else [*EMBEDDED, *CATALOGUE, *DEFAULTS]
        hint = f"{did_you_mean(normalise_name(name), names)} 'wrn models' lists all".strip()
        raise UnknownNameError(f"no model called {name!r}", hint) from error


def local_source(name: str, *, offline: bool = False, progress: Progress | None = None) -> LocalSource:
    """Return what ``name`` stands for, with the files of a hub's repository fetched; see ``resolve_model``.

    Raises DownloadError for a repository that cannot be fetched.
    """
    source = resolve_model(name)
    if isinstance(source, HubRepository):
        return WeightsFile(fetch_repository(source, offline=offline, progress=progress))
    return source


def embedded_folder(name: str) -> Path:
    """Return the folder of a model inside the package."""
    return Path(str(resources.files("wideresnet"))) / "embedded" / name


def unpublished(architecture: Architecture) -> ConfigError:
    """Return the error for an architecture where weights are needed."""
    hint = f"train it, or name a weights file in its place; published are {', '.join(DEFAULTS)}"
    return ConfigError(f"{architecture.name} is an architecture without published weights", hint)


def _check_existing(path: Path) -> None:
    """Raise ConfigError where something else than a model is at ``path``."""
    if is_bundle(path / "bundle"):
        raise ConfigError(f"{path} is a run folder, not a bundle", hint=f"give {path / 'bundle'}")
    if path.is_dir():
        hint = "give a bundle (a folder with card.json), a weights file, or a name of 'wrn models'"
        raise ConfigError(f"{path} is not a bundle: a folder without {CARD}", hint)
    if path.exists():
        raise ConfigError(f"{path} is not a regular file", hint="copy it into a file first")
