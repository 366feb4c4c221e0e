"""Reading of files that may be pipes or devices, without waiting forever."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
from pathlib import Path
from typing import BinaryIO

from wideresnet.errors import WrnError, os_errors_as

WAIT = 30.0                                        # seconds without data before a pipe is abandoned
CHUNK = 2**20                                      # bytes read at a time
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def path_exists(path: Path, kind: type[WrnError]) -> bool:
    """Return whether a path exists. Raises ``kind`` for one that may not be looked at."""
    with os_errors_as(kind, f"cannot read {path}", hint="check the permissions, and the spelling of the path"):
        return path.exists()


def special_kind(path: Path) -> str:
    """Return ``"a named pipe"``, ``"a socket"`` or ``"a device"``; empty for others and where access fails."""
    try:
        return _KINDS.get(stat.S_IFMT(path.stat().st_mode), "")
    except (OSError, ValueError):                  # reported when the file is opened
        return ""


def check_regular(path: Path, kind: type[WrnError], hint: str) -> None:
    """Raise ``kind`` for a file that reading could wait for or change."""
    if special := special_kind(path):
        raise kind(f"{path} is not a regular file: {special}", hint)


def read_file(path: Path, limit: int = -1) -> bytes:
    """Read the bytes of a file; of a pipe or device at most ``limit`` (-1: all).

    Raises OSError, also as TimeoutError where a pipe gives no data for ``WAIT`` seconds.
    """
    with io.FileIO(path, opener=_open_nonblocking) as file:
        return read_open(file, limit)


def read_open(file: BinaryIO | io.FileIO, limit: int = -1) -> bytes:
    """Read an open file, such as stdin, like ``read_file``."""
    try:
        descriptor = file.fileno()
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:                                # a file in memory
        regular = True
    if regular or not hasattr(select, "poll"):
        return file.read() or b""
    poller, data = select.poll(), bytearray()
    poller.register(descriptor, select.POLLIN)
    while limit < 0 or len(data) < limit:
        # read() reports the end of a pipe that has had no writer yet; poll() waits for one.
        if not poller.poll(1000 * WAIT):
            raise TimeoutError(errno.ETIMEDOUT, f"no data came within {WAIT:g} s")
        chunk = os.read(descriptor, CHUNK if limit < 0 else min(CHUNK, limit - len(data)))
        if not chunk:
            break
        data += chunk
    return bytes(data)


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Read text through ``read_file``. Raises OSError and UnicodeDecodeError."""
    return io.TextIOWrapper(io.BytesIO(read_file(path)), encoding, errors).read()


def _open_nonblocking(name: str, flags: int) -> int:
    """Open with O_NONBLOCK: without it opening a named pipe waits for a writer."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
