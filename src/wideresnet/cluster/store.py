"""Files of bulk jobs: in a folder that all nodes see, or in an object store, through pyarrow's file systems.

The query of a URI has options: ``s3://bucket/folder?endpoint_override=host:9000&scheme=http``. Credentials come from
where the store's own tools look for them.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from wideresnet.errors import ConfigError, DataError, errors_as, needs_extra
from wideresnet.output.atomic import save_bytes

Value = TypeVar("Value")

RETRY_SECONDS = 300.0                              # after which a store's error is raised
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0             # seconds between attempts
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}   # not retried
_ATOMIC = ("s3", "gcs", "abfs")                    # stores that show a file only when it is complete
_PERMANENT = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE")


@dataclass(frozen=True)
class Store:
    """A folder by path or URI; the names of its files are relative, with ``/``."""

    uri: str

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file below the folder, in the order of a walk; none if it does not exist.

        Raises DataError.
        """
        from pyarrow.fs import FileSelector, FileType

        system, root = _file_system(self.uri)
        selector = FileSelector(root, allow_not_found=True, recursive=True)
        entries = self._retry(lambda: system.get_file_info(selector), "list")
        files = ((entry.path[len(root) :].lstrip("/"), entry.size) for entry in entries if entry.type == FileType.File)
        return dict(sorted(files, key=lambda file: file[0].split("/")))

    def has(self, name: str) -> bool:
        """Return whether a file exists. Raises DataError."""
        from pyarrow.fs import FileType

        system, root = _file_system(self.uri)
        (info,) = self._retry(lambda: system.get_file_info([f"{root}/{name}"]), f"look for {name} in")
        return bool(info.type == FileType.File)

    def read(self, name: str) -> bytes:
        """Read a file. Raises FileNotFoundError and DataError."""
        system, root = _file_system(self.uri)

        def read() -> bytes:
            with system.open_input_file(f"{root}/{name}") as file:
                return bytes(file.read())

        return self._retry(read, f"read {name} in")

    def open(self, name: str) -> Any:
        """Open a file as pyarrow's NativeFile. Raises FileNotFoundError and DataError."""
        system, root = _file_system(self.uri)
        return self._retry(lambda: system.open_input_file(f"{root}/{name}"), f"open {name} in")

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all. Raises DataError, and ConfigError for a full local disk."""
        if not is_uri(self.uri):
            save_bytes(Path(self.uri) / name, data)
            return
        system, root = _file_system(self.uri)
        path = f"{root}/{name}"
        folder, _, last = path.rpartition("/")
        temporary = path if system.type_name in _ATOMIC else f"{folder}/.{last}.{uuid4().hex}.part"

        def write() -> None:
            system.create_dir(folder, recursive=True)
            with system.open_output_stream(temporary) as file:
                file.write(data)
            if temporary != path:
                system.move(temporary, path)

        self._retry(write, f"write {name} to")

    def remove(self, name: str) -> None:
        """Remove a file, if it exists. Raises DataError."""
        system, root = _file_system(self.uri)
        with suppress(FileNotFoundError):
            self._retry(lambda: system.delete_file(f"{root}/{name}"), f"remove {name} from")

    def _retry(self, work: Callable[[], Value], action: str) -> Value:
        try:
            return retry(work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"cannot {action} {self.uri}: {error}", hint="give the same command later") from error


def retry(work: Callable[[], Value], seconds: float = RETRY_SECONDS) -> Value:
    """Return ``work()``, called again after an OSError, with pauses that double, for ``seconds``.

    Raises the last OSError; at once one that is permanent: a missing file, no permission, a full disk.
    """
    pause, end = FIRST_PAUSE, time.monotonic() + seconds
    while True:
        try:
            return work()
        except (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError):
            raise
        except OSError as error:
            permanent = error.errno in _DISK_ERRORS or any(name in str(error) for name in _PERMANENT)
            if permanent or time.monotonic() + pause > end:
                raise
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_uri(text: str) -> bool:
    """Return whether ``text`` is a URI, not a path."""
    return "://" in text


def open_stored(location: str) -> Any:
    """Open a file by path or URI as pyarrow's NativeFile. Raises FileNotFoundError and DataError."""
    root, name = split_location(location)
    return Store(root).open(name)


def join_location(root: str, name: str) -> str:
    """Return the location of ``name`` below ``root``, a path or URI; a query stays at the end."""
    path, mark, query = root.partition("?") if is_uri(root) else (root, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def split_location(location: str) -> tuple[str, str]:
    """Return the folder and the name of a file by path or URI."""
    path, mark, query = location.partition("?") if is_uri(location) else (location, "", "")
    folder, _, name = path.rpartition("/")
    return f"{folder or ('/' if path.startswith('/') else '.')}{mark}{query}", name


@lru_cache(maxsize=64)
def _file_system(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system, and the path within it. Raises ConfigError."""
    with needs_extra("object stores", "ray"):
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem
    if not is_uri(uri):
        return LocalFileSystem(), str(Path(uri).absolute())
    with errors_as((ArrowException, OSError, ValueError), ConfigError, f"cannot open the store {uri}"):
        system, path = FileSystem.from_uri(uri)
    return system, path.rstrip("/")
