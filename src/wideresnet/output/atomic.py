"""Files written whole or not at all, and what can be said of their names before any work"""

from __future__ import annotations

import os
from pathlib import Path

from wideresnet.errors import ConfigError


def check_file(file: Path) -> None:
    """Raise ConfigError where ``file`` cannot be written. Folders that are missing are no reason."""
    reason = ""
    if os.path.exists(file) and not os.path.isfile(file):
        reason = "Is a directory" if os.path.isdir(file) else "not a regular file"
    _check(file, file.parent, reason)


def check_folder(folder: Path) -> None:
    """Raise ConfigError where nothing can be written to ``folder``, or it cannot be made."""
    _check(folder, folder, "")


def _check(path: Path, folder: Path, reason: str) -> None:
    folder = folder.absolute()
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not os.path.isdir(nearest):
        reason = reason or f"{nearest}: Not a directory"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = reason or f"{nearest}: Permission denied"
    if reason:
        raise ConfigError(f"cannot write {path}: {reason}", hint="name another file or folder")


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see ``save_bytes``."""
    save_bytes(path, text.encode("utf-8"))


def save_bytes(path: Path, data: bytes) -> None:
    """Write ``data``, in place only when whole; folders are made. Raises ConfigError."""
    check_file(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
