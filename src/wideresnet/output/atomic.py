"""Files and folders that appear complete or not at all, and checks of their names before any work.

The context managers yield a temporary path beside the final one. When the block ends, its contents are flushed to the
disk (fsync) and renamed; an exception removes it and leaves what was there as it was. Its name is fixed and its
writers have a lock (``output.lock``), so the next write of the same name removes what a killed process left.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.output.lock import lock_output

WAIT_S = 60.0                                      # for another process that writes the same file


@contextmanager
def atomic_path(path: Path, *, fsync: bool = True) -> Iterator[Path]:
    """Yield the path of a file to write, which becomes ``path`` when the block ends. Missing folders are created.

    A link stays: the file that it names is replaced. Without ``fsync`` a power failure may lose the file, a killed
    process cannot. Raises OSError, and ConfigError if another process writes the file for longer than ``WAIT_S``.
    """
    path = Path(os.path.realpath(path))
    part = _beside(path, "part")
    with lock_output(path, WAIT_S):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            if fsync:
                sync_file(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_pair(file: Path, companion: Path) -> Iterator[Path]:
    """Yield a folder for two files of these names, which become ``file`` and ``companion`` when the block ends.

    Two files that do not belong together are never seen: the older companion is gone before ``file`` is replaced. A
    kill in between leaves a file without companion, which the next call completes. Raises what ``atomic_path`` does.
    """
    part = _beside(file, "parts")
    with lock_output(file, WAIT_S):
        _complete_pair(part, file, companion)
        part.mkdir(parents=True)
        try:
            (part / file.name).touch()             # before the companion: see _complete_pair
            yield part
            sync_file(part / file.name)
            sync_file(part / companion.name)
            if companion.exists():
                os.replace(companion, part / "old")
            os.replace(part / file.name, file)
            os.replace(part / companion.name, companion)
        finally:
            _complete_pair(part, file, companion)


def _complete_pair(part: Path, file: Path, companion: Path) -> None:
    """Put back the companion that ``file`` lacks, the old one if the new ``file`` is still in ``part``; remove it."""
    source = part / ("old" if (part / file.name).exists() else companion.name)
    if file.exists() and not companion.exists() and source.exists():
        os.replace(source, companion)
    (part / companion.name).unlink(missing_ok=True)
    shutil.rmtree(part, ignore_errors=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write files to, which becomes ``folder`` when the block ends; an older one is replaced.

    Missing parent folders are created, links are followed. Raises what ``atomic_path`` does.
    """
    folder = folder.resolve()
    part, old = _beside(folder, "part"), _beside(folder, "old")
    with lock_output(folder, WAIT_S):
        _restore(folder, old)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            for file in filter(Path.is_file, part.rglob("*")):
                sync_file(file)
            if not exchange(part, folder):
                if folder.exists():                # a folder with files cannot be replaced in one step
                    os.replace(folder, old)
                os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            _restore(folder, old)


def restore_folder(folder: Path) -> None:
    """Give a folder its name back that a process was killed amid replacing, where there is no ``exchange``."""
    folder = folder.resolve()
    if not folder.exists() and os.path.exists(old := _beside(folder, "old")):
        with suppress(OSError, ConfigError), lock_output(folder, 1.0):
            _restore(folder, old)


def _restore(folder: Path, old: Path) -> None:
    """Move ``old`` back if ``folder`` is missing, else remove it."""
    if old.exists() and not folder.exists():
        os.replace(old, folder)
    shutil.rmtree(old, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step; return False if one does not exist or the system cannot."""
    rename = getattr(ctypes.CDLL(None) if sys.platform == "linux" else None, "renameat2", None)
    here, both = -100, 2                           # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(first), here, os.fsencode(second), both) == 0


def _beside(path: Path, ending: str) -> Path:
    return path.parent / f".{path.name}.{ending}"


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
    elif _is_open_file(file):
        reason = "not a regular file"
    _check(file, Path(os.path.realpath(file)).parent, reason)


def check_not_input(output: Path, inputs: Iterable[str | Path]) -> None:
    """Raise ConfigError if ``output`` is, by whatever name, one of the files ``inputs``. Missing files are no error."""
    for file in inputs:
        with suppress(OSError, ValueError):        # a name, not a file
            if os.path.samefile(output, file):
                raise ConfigError(f"{output} is one of the inputs and would be overwritten", hint="name another file")


def _is_open_file(file: Path) -> bool:
    """Return whether a name stands for a file that a process has open, as /dev/stdout does, or is a link to one."""
    for _ in range(40):                            # links, as the system follows them
        if Path(os.path.realpath(file.parent)).is_relative_to("/proc"):
            return True
        if not file.is_symlink():
            return False
        file = file.parent / os.readlink(file)
    return False


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
