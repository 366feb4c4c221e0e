"""Where bulk work reads and writes: a folder that all nodes see, or an object store, through pyarrow's file systems.

A URI says which store, and in its query how: ``s3://bucket/folder?endpoint_override=host:9000&scheme=http``. Keys
come from where the store's own tools look for them.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from wideresnet.errors import ConfigError, DataError, needs_extra
from wideresnet.output.atomic import save_bytes

Done = TypeVar("Done")

PATIENCE = 300.0                                   # seconds for a store that refuses
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0             # seconds between two tries
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of disks, which waiting does not help
_WHOLE = ("s3", "gcs", "abfs")                     # show a file only when it is whole
_FINAL = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE")


@dataclass(frozen=True)
class Store:
    """A folder by path or URI. Names within it have ``/`` between their parts."""

    uri: str

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine's file system."""
        return not is_uri(self.uri)

    def names(self, patience: float = PATIENCE) -> list[str]:
        """Every file below it, sorted part by part; none where it is not there. Raises DataError."""
        from pyarrow.fs import FileSelector, FileType

        system, root = _open(self.uri)
        selector = FileSelector(root, allow_not_found=True, recursive=True)
        found = self._try(lambda: system.get_file_info(selector), "list", patience)
        files = (each.path[len(root) :].lstrip("/") for each in found if each.type == FileType.File)
        return sorted(files, key=lambda name: name.split("/"))

    def has(self, name: str) -> bool:
        """Whether a file is there. Raises DataError."""
        from pyarrow.fs import FileType

        system, root = _open(self.uri)
        (info,) = self._try(lambda: system.get_file_info([f"{root}/{name}"]), f"look for {name} in")
        return bool(info.type == FileType.File)

    def read(self, name: str) -> bytes:
        """A file. Raises FileNotFoundError where there is none, and DataError."""
        system, root = _open(self.uri)

        def read() -> bytes:
            with system.open_input_file(f"{root}/{name}") as file:
                return bytes(file.read())

        return self._try(read, f"read {name} in")

    def open(self, name: str) -> Any:
        """A file to read parts of, as pyarrow does. Raises FileNotFoundError and DataError."""
        system, root = _open(self.uri)
        return self._try(lambda: system.open_input_file(f"{root}/{name}"), f"open {name} in")

    def write(self, name: str, data: bytes) -> None:
        """A file, whole or not at all. Raises DataError, and ConfigError for a local disk that is full."""
        if self.local:
            save_bytes(Path(self.uri) / name, data)
            return
        system, root = _open(self.uri)
        # Object stores show what is written only when it is whole; others get a name of its own first.
        whole = f"{root}/{name}"
        folder, _, last = whole.rpartition("/")
        part = whole if system.type_name in _WHOLE else f"{folder}/.{last}.{uuid4().hex}.part"

        def write() -> None:
            system.create_dir(folder, recursive=True)
            with system.open_output_stream(part) as file:
                file.write(data)
            if part != whole:
                system.move(part, whole)

        self._try(write, f"write {name} to")

    def remove(self, name: str) -> None:
        """Have no such file. Raises DataError."""
        system, root = _open(self.uri)

        def remove() -> None:
            try:
                system.delete_file(f"{root}/{name}")
            except FileNotFoundError:              # gone already
                return

        self._try(remove, f"remove {name} from")

    def _try(self, work: Callable[[], Done], doing: str, patience: float = PATIENCE) -> Done:
        try:
            return patiently(work, patience)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"cannot {doing} {self.uri}: {error}", hint="the same command goes on later") from error


def patiently(work: Callable[[], Done], patience: float = PATIENCE) -> Done:
    """``work()``, again and again while a store refuses it, with pauses that double, for ``patience`` seconds.

    Raises the last OSError then; at once where waiting does not help: nothing there, not allowed, a full disk.
    """
    pause, end = FIRST_PAUSE, time.monotonic() + patience
    while True:
        try:
            return work()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            final = error.errno in _FULL or any(word in str(error) for word in _FINAL)
            if final or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_uri(text: str) -> bool:
    """Whether a place is named by URI, not by path."""
    return "://" in text


def open_stored(place: str) -> Any:
    """A file by path or URI, to read parts of. Raises FileNotFoundError and DataError."""
    root, name = split(place)
    return Store(root).open(name)


def join(root: str, name: str) -> str:
    """The file ``name`` below ``root``, a path or URI; a query stays at the end."""
    place, mark, query = root.partition("?") if is_uri(root) else (root, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{query}"


def split(place: str) -> tuple[str, str]:
    """The folder of a file by path or URI, and the file's name in it."""
    path, mark, query = place.partition("?") if is_uri(place) else (place, "", "")
    folder, _, name = path.rpartition("/")
    return f"{folder or ('/' if path.startswith('/') else '.')}{mark}{query}", name


@lru_cache(maxsize=64)
def _open(uri: str) -> tuple[Any, str]:
    """pyarrow's file system, and the path within it. Raises ConfigError."""
    with needs_extra("reading and writing where all nodes see it", "ray"):
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem
    if not is_uri(uri):
        return LocalFileSystem(), str(Path(uri).absolute())
    try:
        system, path = FileSystem.from_uri(uri)
    except (ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"no store that can be opened: {uri}: {error}") from error
    return system, path.rstrip("/")
