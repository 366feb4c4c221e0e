"""Files and folders that appear complete or not at all, and checks of their names before any work.

Both context managers yield a temporary path beside the final one. When the block ends, its contents are flushed to the
disk (fsync) and renamed; an exception removes it and leaves the earlier file as it was. Only the temporary file of a
killed process stays, and the next write of the same name replaces it: its name is fixed, so two processes must not
write one file at the same time.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wideresnet.errors import ConfigError, os_errors_as


@contextmanager
def atomic_path(path: Path, *, fsync: bool = True) -> Iterator[Path]:
    """Yield the path of a file to write, which becomes ``path`` when the block ends. Missing folders are created.

    Without ``fsync`` a power failure may lose the file, a killed process cannot. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        if fsync:
            sync_file(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files to, which becomes ``folder`` when the block ends; an older one is replaced.

    Missing parent folders are created. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o755)                          # mkdtemp creates folders that only their owner may enter
        yield part
        for file in filter(Path.is_file, part.rglob("*")):
            sync_file(file)
        _replace_folder(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, folder: Path) -> None:
    """Rename ``part`` to ``folder``. A folder that is not empty cannot be replaced in one step: it is moved aside."""
    old = part.with_name(f"{part.name}.old")
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(part, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Flush a closed file to the disk. Raises OSError."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def save_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see ``save_bytes``."""
    save_bytes(path, text.encode("utf-8"))


def save_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` atomically; missing folders are created. Raises ConfigError if ``path`` cannot be written."""
    check_file(path)
    with os_errors_as(ConfigError, f"cannot write {path}"), atomic_path(path) as part:
        part.write_bytes(data)


def check_file(file: Path) -> None:
    """Raise ConfigError if ``file`` cannot be written. Missing folders are no error."""
    reason = ""
    if os.path.exists(file) and not os.path.isfile(file):
        reason = "Is a directory" if os.path.isdir(file) else "not a regular file"
    _check(file, file.parent, reason)


def check_folder(folder: Path) -> None:
    """Raise ConfigError if ``folder`` cannot be created or not be written to."""
    _check(folder, folder, "")


def _check(path: Path, folder: Path, reason: str) -> None:
    folder = folder.absolute()
    nearest = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not os.path.isdir(nearest):
        reason = reason or f"{nearest}: Not a directory"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = reason or f"{nearest}: Permission denied"
    if reason:
        raise ConfigError(f"cannot write {path}: {reason}", hint="name another file or folder")
