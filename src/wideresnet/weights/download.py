"""Download one file by HTTP(S): resumed, retried, verified by hash, renamed when complete.

Standard library only, so that proxies and certificates follow the system's settings.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock

from wideresnet.errors import DownloadError, os_errors_as

# Called with bytes present so far and, where the server says, bytes in all.
Progress = Callable[[int, int | None], None]

CHUNK_BYTES: Final = 1 << 20
# The OSErrors about the connection; all others are about the disk.
CONNECTION_FAULTS: Final = (
    URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError,
)  # fmt: skip
UNREACHABLE: Final = frozenset((errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH))
# Statuses that may pass: request timeout, too early, too many requests; and every 5xx.
PASSING: Final = frozenset((408, 425, 429))


@dataclass(frozen=True)
class Patience:
    """Limits of retrying. ``attempts`` count consecutive failures without a new byte; the pause doubles each time.

    Until the first byte of a call there are two attempts if the server is silent, one if it cannot be reached.
    """

    attempts: int = 5
    pause_s: float = 0.5
    timeout_s: float = 10.0                        # of one connection attempt or one silent read


PATIENT: Final = Patience()


def download(
    url: str,
    target: Path,
    sha256_prefix: str,
    progress: Progress | None = None,
    patience: Patience = PATIENT,
    *,
    instead: str = "give its path",
) -> Path:
    """Fetch ``url`` to ``target``, whose SHA-256 must begin with ``sha256_prefix`` (lower-case hex).

    Received bytes are kept in ``TARGET.part``; after a cut connection, and in a later call, the download continues from
    them. ``instead`` is a hint: the name for a copy from elsewhere.
    A lock file makes a second process wait and then find the file. Raises DownloadError if the server
    refuses, nothing more comes, the disk is full, or the hash is wrong (the file is deleted then).
    """
    part = target.with_name(target.name + ".part")
    with os_errors_as(DownloadError, f"cannot write {target}", hint="WRN_CACHE=DIR puts the cache elsewhere"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not target.exists():
                if progress:
                    progress(_size(part), None)    # before a connection, which may take long
                _fetch_whole(url, target, part, progress, patience, instead)
                _check(part, url, sha256_prefix)
                os.replace(part, target)
    return target


def _fetch_whole(
    url: str, target: Path, part: Path, progress: Progress | None, patience: Patience, instead: str
) -> None:
    """Repeat attempts until the file is complete."""
    failures, start = 0, _size(part)
    while True:
        before = _size(part)
        try:
            _attempt(url, part, progress, patience.timeout_s)
            return
        except CONNECTION_FAULTS as error:
            failures = 1 if _size(part) > before else failures + 1
            passing = not isinstance(error, HTTPError) or error.code in PASSING or error.code >= 500
            attempts = patience.attempts if _size(part) > start else min(patience.attempts, _first_attempts(error))
            if not passing or failures >= attempts:
                later = f" (it goes on after {_size(part):,} bytes)" if _size(part) else ""
                hint = f"try again{later}, or fetch the file by other means, put it at {target}, or {instead}"
                raise DownloadError(f"cannot download {url}: {_reason(error, url)}", hint) from error
            time.sleep(patience.pause_s * 2 ** (failures - 1))


def _first_attempts(error: Exception) -> int:
    """Return how often a server is asked that has not sent a byte yet: once where it cannot be reached."""
    cause = error.reason if isinstance(error, URLError) else error
    unreachable = isinstance(cause, socket.gaierror) or getattr(cause, "errno", None) in UNREACHABLE
    return 1 if unreachable else 2 if isinstance(cause, TimeoutError) else PATIENT.attempts


def _reason(error: Exception, url: str) -> str:
    """Return why a connection failed, in words."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, socket.gaierror):
        return f"the address of {urlsplit(url).hostname} is not found; is this machine online?"
    answer = f"the server answers {error.code} " if isinstance(error, HTTPError) else ""
    return answer + (getattr(cause, "strerror", None) or str(cause))


def _attempt(url: str, part: Path, progress: Progress | None, timeout_s: float) -> None:
    """Send one request and append to ``part``; return when the file is complete, raise if it was cut."""
    start = _size(part)
    # Without identity, a server may compress, and the range would count other bytes.
    headers = {"User-Agent": "wideresnet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urlopen(Request(url, headers=headers), timeout=timeout_s) as response:
            if urlsplit(url).scheme == "https" and urlsplit(response.url).scheme != "https":
                raise DownloadError(f"{url} was redirected to {response.url}, which is not encrypted")
            if response.status != 206 or _number_in(response.headers, r"^bytes (\d+)-") != start:
                start = 0                          # the server ignored the range and sends it all again
            _save(response, part, start, progress)
    except HTTPError as error:
        error.close()
        if error.code != 416 or not start:
            raise
        # The server has no further bytes: the file is complete or damaged, which the hash decides.
        if _number_in(error.headers, r"/(\d+)$") != start:
            part.unlink()
            raise http.client.HTTPException("the partial file does not fit; starting again") from error


def _save(response: http.client.HTTPResponse, part: Path, start: int, progress: Progress | None) -> None:
    """Write the body after the first ``start`` bytes of ``part``; raises if it ends before its length."""
    length = response.headers.get("Content-Length")
    total = start + int(length) if length and length.isdecimal() else None
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            if progress:
                progress(done, total)
    if total is not None and done < total:
        raise http.client.HTTPException(f"the connection was cut after {done:,} of {total:,} bytes")


def _check(part: Path, url: str, sha256_prefix: str) -> None:
    """Delete ``part`` and raise DownloadError if it has the wrong hash."""
    with part.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not sha256.startswith(sha256_prefix):
        part.unlink()
        raise DownloadError(
            f"{url} has the wrong hash: SHA-256 is {sha256}, expected {sha256_prefix}"
            f"{'…' if len(sha256_prefix) < 64 else ''}",
            hint="it was deleted; try again, and if it stays so, the server's copy or a proxy is to blame",
        )


def _number_in(headers: Message, pattern: str) -> int | None:
    """Return the number that ``pattern`` finds in the range, ``bytes 5-8/9`` or ``bytes */9``."""
    match = re.search(pattern, headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
