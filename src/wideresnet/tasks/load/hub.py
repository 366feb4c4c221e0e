"""Models of a model hub by name: ``hf-hub:OWNER/NAME``, as timm writes it, with ``@REVISION`` if need be.

Files are fetched once into the hub's own cache (HF_HOME), which other programs share. HF_ENDPOINT names another hub,
HF_HUB_OFFLINE=1 or WRN_OFFLINE=1 forbid connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wideresnet.errors import ConfigError, DownloadError
from wideresnet.tasks.load.hub_config import NAME, check_config

if TYPE_CHECKING:
    from wideresnet.weights.download import Progress

FILES = ("model.safetensors", "pytorch_model.bin")
_FORM = re.compile(r"hf[-_]hub:(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class HubRepository:
    """A repository of a model hub: OWNER/NAME, at a branch, tag or commit."""

    name: str
    revision: str = "main"


def parse_repository(name: str) -> HubRepository | None:
    """Return the repository that the name of a model stands for; None for a name of another kind.

    Raises ConfigError for a name that only begins like one.
    """
    if not name.startswith(("hf-hub:", "hf_hub:")):
        return None
    if match := _FORM.fullmatch(name):
        return HubRepository(match["name"], match["revision"] or "main")
    raise ConfigError(f"not the name of a repository on a hub: {name!r}", hint="write hf-hub:OWNER/NAME[@REVISION]")


def fetch_repository(repository: HubRepository, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Return the weights file of a repository in the hub's cache, with its config.json beside it.

    What is in the cache is taken without asking the hub. Else the architecture in the config.json is checked before the
    weights are fetched. Raises DownloadError for what cannot be fetched, ConfigError for another network.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from wideresnet.weights.store import (  # with the HTTP client; a local model opens faster without
        bar_for,
        offline_mode,
    )

    bar, title = bar_for(progress), f"hf-hub:{repository.name}"

    def fetch(local: bool) -> Path:
        name, revision = repository.name, repository.revision
        get = partial(hf_hub_download, name, revision=revision, local_files_only=local, tqdm_class=bar)
        check_config(Path(get(NAME)), title)
        try:
            return Path(get(FILES[0]))
        except EntryNotFoundError:
            return Path(get(FILES[1]))

    try:
        try:
            return fetch(local=True)
        except LocalEntryNotFoundError:
            if offline or offline_mode():
                raise
        # Asked once: hf_hub_download tries for half a minute where there is no connection.
        get_hf_file_metadata(hf_hub_url(repository.name, NAME, revision=repository.revision))
        return fetch(local=False)
    except ConfigError:
        raise
    # Everything else: which HTTP library's errors come through differs between releases of huggingface_hub.
    except Exception as error:
        raise _error(repository, error) from error


def repository_of(file: Path) -> tuple[str, str]:
    """Return the repository and the commit of a file in the hub's cache; two empty texts for any other file."""
    match file.absolute().parts:
        case [*_, folder, "snapshots", commit, _] if folder.startswith("models--"):
            return folder.removeprefix("models--").replace("--", "/", 1), commit
    return "", ""


def _error(repository: HubRepository, error: Exception) -> DownloadError:
    """Return what went wrong, in words."""
    from huggingface_hub import errors

    name, page = f"hf-hub:{repository.name}", "log in with 'hf auth login'"
    if isinstance(error, errors.GatedRepoError):
        return DownloadError(f"{name} is only for users who accepted its terms", f"accept them on its page, and {page}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return DownloadError(f"there is no repository {name}, or it is private", f"check the name; or {page}")
    if isinstance(error, errors.RevisionNotFoundError):
        return DownloadError(f"{name} has no revision {repository.revision!r}", "name a branch, a tag or a commit")
    if isinstance(error, errors.RemoteEntryNotFoundError):
        files = f"{NAME} and {' or '.join(FILES)}"
        return DownloadError(f"{name} does not have {files}", "name a repository in timm's layout")
    hint = f"run 'hf download {repository.name}' where there is a connection, or give the path of a clone"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return DownloadError(f"{name} is not on this machine, and offline mode is on", hint)
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DownloadError(f"{name} is not on this machine, and the hub gives no answer: {reason}", hint)
