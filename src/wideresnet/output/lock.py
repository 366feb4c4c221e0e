"""Locks of outputs: one process at a time writes a file or a folder, and another one learns which.

A lock is the kernel's (flock) on a hidden file with process and host, so it ends with its process in whatever way that
ends. The file of a killed process stays until the next lock of the same output. There are no locks on Windows, nor
on file systems without flock, which a warning states; files are complete there too, and the last writer's stays.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from wideresnet.errors import ConfigError

if sys.platform != "win32":
    import fcntl

_held: set[str] = set()                            # lock files of the running command, and folders locked inside


@contextmanager
def lock_output(path: Path, wait_s: float = 0.0, *, command: bool = False, inside: bool = False) -> Iterator[None]:
    """Lock ``path`` during the block, by ``.NAME.lock`` beside it; missing folders are created, and removed if empty.

    ``command``: further locks of ``path`` by this process do nothing. ``inside``: a folder whose files are replaced one
    by one; its lock is the file ``.lock`` in it, and one for all of them. Raises ConfigError if another process holds
    the lock for longer than ``wait_s`` seconds, and OSError.
    """
    lock = path / ".lock" if inside else path.with_name(f".{path.name}.lock")
    real_path = os.path.realpath(path if inside else lock)
    if sys.platform == "win32" or not (command or _held.isdisjoint((real_path, *map(str, Path(real_path).parents)))):
        yield
        return
    new_folders = [folder for folder in lock.parents if not folder.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = _open_locked(lock, path, time.monotonic() + wait_s)
    try:
        if command:
            _held.add(real_path)
        yield
    finally:
        _held.discard(real_path)
        with suppress(OSError):
            lock.unlink()
            fcntl.flock(file, fcntl.LOCK_UN)       # a forked child may have the file open
        file.close()
        with suppress(OSError):
            for folder in new_folders:
                folder.rmdir()


def _open_locked(lock: Path, output: Path, deadline: float) -> IO[bytes]:
    while True:
        file = lock.open("ab+", buffering=0)
        if try_lock(file):
            with suppress(FileNotFoundError):      # its last owner removed the file between opening and locking
                if os.path.samefile(lock, file.fileno()):
                    with suppress(OSError):        # on a full disk the lock holds without its owner's name
                        file.truncate(0)
                        file.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
                    return file
        elif time.monotonic() >= deadline:
            file.seek(0)
            owner = file.read().decode() or "another process"
            file.close()
            raise ConfigError(f"cannot write {output}: {owner} is writing it", hint="wait for it, or name another")
        file.close()
        time.sleep(0.02)


def try_lock(file: IO[Any]) -> bool:
    """Return whether this process got the lock of an open file, also True where there are no locks.

    It holds it until ``file`` is closed or the process ends in any way.
    """
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            warnings.warn(f"{file.name} cannot be locked, two runs may write at once: {error.strerror}", stacklevel=2)
    return True
