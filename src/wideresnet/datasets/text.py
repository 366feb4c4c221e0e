"""Text files of other systems: UTF-8, UTF-16 or Windows-1252, with or without a byte order mark."""

from __future__ import annotations

import codecs
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from wideresnet.errors import DataError, os_errors_as
from wideresnet.pipes import read_file

MAX_BYTES = 2**30
ASSUMED = "cp1252"
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True)
class Text:
    """The content of a text file. ``note`` states an assumption about its encoding; empty where there is none."""

    content: str
    encoding: str                                  # Python's name of it
    note: str = ""

    def raw_name(self, name: str) -> str:
        """Return a file name in ``content`` as the operating system has it, if the bytes of both are the same."""
        return os.fsdecode(name.encode(ASSUMED, "surrogateescape")) if self.encoding == ASSUMED else name


def read_text(file: Path, max_bytes: int = MAX_BYTES) -> Text:
    """Read ``file`` by its byte order mark, else as UTF-8, else as Windows-1252 with a note.

    Bytes without a meaning there become lone surrogates, as in file names. Raises DataError for a missing file, for one
    of more than ``max_bytes``, and for one that is not text.
    """
    with os_errors_as(DataError, f"cannot read {file}", "check the path of the file"):
        data = read_file(file, max_bytes + 1)
    if len(data) > max_bytes:
        raise DataError(f"{file} is not a list or table: it is larger than {max_bytes / 2**20:.0f} MiB")
    return decode_text(data, str(file))


def decode_text(data: bytes, name: str) -> Text:
    """Decode the bytes of a file called ``name``; see ``read_text``."""
    encoding = encoding_of(data)
    try:
        text = Text(data.decode(encoding), encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise DataError(f"{name} is not text in {encoding.upper()}, its byte order mark: {error}") from error
        note = f"{name} is not in UTF-8; Windows-1252 (cp1252) was assumed: save it as UTF-8 if names come out wrong"
        text = Text(data.decode(ASSUMED, "surrogateescape"), ASSUMED, note)
    if "\0" in text.content:
        raise DataError(f"{name} is not text: it holds zero bytes", hint="give a text file in UTF-8 or UTF-16")
    return text


def encoding_of(head: bytes) -> str:
    """Return the encoding of a byte order mark; UTF-8 where there is none."""
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), "utf-8")


def nfc(text: str) -> str:
    """Return the text with accented letters composed: macOS decomposes them in file names."""
    return unicodedata.normalize("NFC", text)
