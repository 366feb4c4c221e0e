"""Standard streams as a shell leaves them (closed, on a full disk, a pipe without a reader), and lines of text.

A failed write raises OutputError, not OSError, so that nothing mistakes it for an error of another file. A closed
descriptor is opened on the null device, so that no file of ours gets its number and the output of others.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TextIO

import typer

from wideresnet.errors import OutputError
from wideresnet.report.escape import printable

# Reading what was closed for input fails, and so does writing to what was closed for output; messages just vanish.
_CLOSED = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)


class ReaderGone(OutputError):
    """The reader of standard output or error has ended ('wrn models | head')."""


class _Descriptor(io.FileIO):
    """Standard output or error."""

    def write(self, data: object) -> int:
        """Write ``data``, also where the descriptor does not block. Raises OutputError."""
        try:
            while (written := super().write(data)) is None:  # type: ignore[arg-type]
                select.select((), (self,), ())
            return written
        except OSError as error:
            kind = ReaderGone if isinstance(error, BrokenPipeError) else OutputError
            raise kind(f"cannot write the output: {error.strerror}") from None


def open_streams() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``; files and pipes get UTF-8, a terminal the encoding it has."""
    if os.name == "nt":                            # consoles there take no bytes
        return
    for descriptor, flags in enumerate(_CLOSED):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)             # takes the lowest free number
    if sys.stdout is sys.__stdout__:               # not where a test reads it
        sys.stdout = _stream(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2)


def _stream(before: TextIO | None, descriptor: int) -> TextIO:
    encoding = before.encoding if before and before.isatty() else "utf-8"
    lines = before is None or bool(before.line_buffering) or getattr(before, "write_through", False)
    buffer = io.BufferedWriter(_Descriptor(descriptor, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, errors="backslashreplace", line_buffering=lines)


def check_output() -> None:
    """Raise OutputError where nothing can be written to standard output: what takes long would be lost at its end."""
    try:
        os.write(1, b"")
    except OSError as error:
        reason = "standard output is closed" if error.errno == errno.EBADF else error.strerror
        problem = f"cannot write the output: {reason}"
        raise OutputError(problem, hint="send it elsewhere: to a file, or >/dev/null") from None


def say(line: str, err: bool = False) -> None:
    """Print one line for people; control characters in it, line breaks too, are escaped."""
    typer.echo(printable(line), err=err)


def print_lines(text: str, err: bool = False) -> None:
    """Print ``text`` line by line, as ``say`` does."""
    for line in text.split("\n"):
        say(line, err)


def drop_unwritten() -> None:
    """Forget what cannot be written: Python would complain once more when it ends."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OutputError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
