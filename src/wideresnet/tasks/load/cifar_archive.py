"""CIFAR archives: the user's path, or the official file, downloaded once."""

from __future__ import annotations

from pathlib import Path

from wideresnet.datasets.cifar import CIFAR10, CIFAR100, CifarFormat
from wideresnet.errors import DownloadError
from wideresnet.weights.cache import cache_folder
from wideresnet.weights.download import Progress, download
from wideresnet.weights.store import mirrored, offline_mode

URL = "https://www.cs.toronto.edu/~kriz"
# As tensorflow-datasets and others list them; the files inside CIFAR-10's are checked once more when read.
ARCHIVES: dict[str, tuple[CifarFormat, str]] = {
    "cifar10": (CIFAR10, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "cifar100": (CIFAR100, "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
}


def fetch_archive(name: str, progress: Progress | None = None, *, instead: str) -> Path:
    """Return the archive of "cifar10" or "cifar100" in the cache folder, downloaded (170 MB) if it is missing.

    Raises DownloadError if it cannot be downloaded; ``instead`` tells the user how to give an own copy.
    """
    kind, sha256 = ARCHIVES[name]
    target = cache_folder() / kind.archive
    if target.exists():
        return target
    if offline_mode():
        problem = f"{kind.archive} is not on this machine, and offline mode is on"
        raise DownloadError(problem, hint=f"put it at {target} (from {URL}/{kind.archive}), or {instead}")
    return download(mirrored(f"{URL}/{kind.archive}"), target, sha256, progress, instead=instead)


def archive_of(labels_name: str, progress: Progress | None = None, *, instead: str) -> Path | None:
    """Return the CIFAR archive of a list of labels, or None for other labels; see ``fetch_archive``."""
    return fetch_archive(labels_name, progress, instead=instead) if labels_name in ARCHIVES else None


def locate_data(data: Path, progress: Progress | None = None, *, instead: str = "") -> Path:
    """Return ``data``, or the archive if it is "cifar10" or "cifar100" and no such path exists."""
    instead = instead or f"give the path of your own copy in place of the word {data}"
    return data if data.exists() else archive_of(str(data), progress, instead=instead) or data
