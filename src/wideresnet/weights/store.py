"""Files of published weights: from the cache, or downloaded once.

    WRN_OFFLINE=1      never open a connection; HF_HUB_OFFLINE=1, which huggingface_hub reads, has the same effect
    WRN_MIRROR=URL     take the publishers' files from here instead: replaces scheme and host of their URLs

These, ``WRN_CACHE`` (see ``cache``), and ``HF_ENDPOINT`` for the hub (huggingface_hub reads it), are the only
environment variables that ``weights`` reads.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from filelock import FileLock

from wideresnet.errors import DownloadError
from wideresnet.weights.cache import cache_folder
from wideresnet.weights.catalogue import Weights
from wideresnet.weights.download import PATIENT, Patience, Progress, download
from wideresnet.weights.read import sha256_of

HUB_FILE: Final = "model.safetensors"


def fetch(
    weights: Weights,
    *,
    cache: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    patience: Patience = PATIENT,
) -> Path:
    """Return the file of ``weights``: the publisher's if available, else the hub's of the same set.

    A cached file of the publisher is checked against its hash before use, so one put there by hand is as
    good as one downloaded; a damaged one is fetched again. Raises DownloadError if it is neither
    cached nor available.
    """
    folder = cache or cache_folder()
    target, hub_copy = _paths(weights, folder)
    if target.exists() and sha256_of(target).startswith(weights.sha256_prefix):
        return target
    if hub_copy.exists():
        return hub_copy
    if offline or offline_mode():
        state = "damaged on" if target.exists() else "not on"
        raise DownloadError(
            f"{weights.name} is {state} this machine, and offline mode is on",
            hint=f"put {weights.file_name} at {target} (it comes from {weights.url}), or name a copy of it"
            f" in place of {weights.name}",
        )
    target.unlink(missing_ok=True)
    return _download(weights, folder, progress, patience)


def is_cached(weights: Weights, cache: Path | None = None) -> bool:
    """Return True if ``fetch`` needs no connection (the hash is not checked here)."""
    return any(path.exists() for path in _paths(weights, cache or cache_folder()))


def fetch_from_hub(
    weights: Weights, folder: Path, progress: Progress | None = None, endpoint: str | None = None
) -> Path:
    """Fetch ``model.safetensors`` of the hub repository and check it against the SHA-256 that the hub states.

    Raises DownloadError. ``endpoint`` is another hub's address; by default HF_ENDPOINT or the hub itself.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    target = _paths(weights, folder)[1]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        if target.exists():
            return target
        try:
            url = hf_hub_url(weights.hub, HUB_FILE, endpoint=endpoint)
            stated = get_hf_file_metadata(url, endpoint=endpoint).etag
            local, bar = folder / "hub" / weights.hub, bar_for(progress)
            path = Path(hf_hub_download(weights.hub, HUB_FILE, endpoint=endpoint, local_dir=local, tqdm_class=bar))
        # Everything: which HTTP library's errors come through differs between releases of huggingface_hub.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"cannot download {weights.hub} from the hub: {reason}"
            raise DownloadError(problem, hint=f"try again, or name a file in place of {weights.name}") from error
        sha256 = sha256_of(path)
        if sha256 != stated:
            path.unlink()
            problem = f"{weights.hub} has the wrong hash: SHA-256 is {sha256}, expected {stated}"
            raise DownloadError(problem, hint="it was deleted; try again")
        # Only now does it get the name under which it is trusted.
        os.replace(path, target)
    return target


def _paths(weights: Weights, folder: Path) -> tuple[Path, Path]:
    """Return the cache paths of the publisher's and the hub's file of a set."""
    return folder / weights.file_name, folder / f"{weights.hub.rpartition('/')[2]}.safetensors"


def _download(weights: Weights, folder: Path, progress: Progress | None, patience: Patience) -> Path:
    """Download the publisher's file, or else the hub's of the same set. Raises the error of the publisher's."""
    try:
        return download(mirrored(weights.url), folder / weights.file_name, weights.sha256_prefix, progress, patience)
    except DownloadError:
        # With a mirror of the publisher's files, the hub is used only through a mirror of its own.
        if not os.environ.get("WRN_MIRROR") or os.environ.get("HF_ENDPOINT"):
            with suppress(DownloadError):
                return fetch_from_hub(weights, folder, progress)
        raise


def mirrored(url: str) -> str:
    """Return ``url``, or with WRN_MIRROR set the same path below the mirror."""
    mirror = os.environ.get("WRN_MIRROR")
    return mirror.rstrip("/") + urlsplit(url).path if mirror else url


def offline_mode() -> bool:
    """Return True if WRN_OFFLINE, or the hub's own HF_HUB_OFFLINE, forbids connections."""
    values = (os.environ.get(name, "").lower() for name in ("WRN_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value not in ("", "0", "false", "no", "off") for value in values)


def bar_for(progress: Progress | None) -> type[Any]:
    """Return a class in the place of tqdm's that reports to ``progress`` and draws nothing."""

    class Bar(ExitStack):                          # for its enter, exit and close
        # huggingface_hub passes tqdm's own options (desc, unit, …), which mean nothing here.
        def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **_options: Any) -> None:
            super().__init__()
            self.total, self.done = total, initial

        def update(self, n: int = 1) -> None:
            self.done += int(n)
            if progress:
                progress(self.done, self.total)

    return Bar
