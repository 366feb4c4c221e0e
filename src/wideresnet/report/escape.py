"""Names of files in text: one line on a terminal, and valid UTF-8 in files.

A name may hold line breaks, a terminal's escape sequences, marks that turn the direction of text, and bytes that are
no UTF-8. Python reads such a byte 0xE9 as the lone surrogate U+DCE9; every output writes it as ``\\udce9``:

    JSON            the escape of JSON itself, which any reader turns back
    CSV, Parquet    the six characters; a backslash before "u" and four hex digits becomes ``\\u005c``
    a line a name   the same, and line breaks and other control characters too
    for people      control characters as in Python's source: ``\\n``, ``\\x1b``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# C1 controls and DEL, line separators, bidirectional overrides and isolates, lone surrogates.
_BEYOND = "\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ESCAPE = r"\\(?=u[0-9a-f]{4})"
_IN_JSON = re.compile(f"[{_BEYOND}]")  # json escapes the rest
_IN_CELL = re.compile(rf"[\ud800-\udfff]|{_ESCAPE}")
_IN_LINE = re.compile(f"[\x00-\x1f{_BEYOND}]|{_ESCAPE}")
_PRINTED = re.compile(f"[\x00-\x1f{_BEYOND}]")
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


def printable(text: str) -> str:
    """Return ``text`` for people, on one line and without control characters."""
    return _PRINTED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def json_text(document: Any, indent: int | None = None) -> str:
    """Return ``document`` as JSON: valid UTF-8, without control characters but the line breaks of ``indent``."""
    return _IN_JSON.sub(_escaped, json.dumps(document, indent=indent, ensure_ascii=False))


def cell_text(text: str) -> str:
    """Return ``text`` as valid UTF-8; ``unescaped`` is the way back."""
    return _IN_CELL.sub(_escaped, text)


def line_text(text: str) -> str:
    """Return ``text`` on one line of valid UTF-8; ``unescaped`` is the way back."""
    return _IN_LINE.sub(_escaped, text)


def unescaped(text: str) -> str:
    """Return what ``cell_text`` or ``line_text`` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def shell_lines(command: str, width: int = 74) -> Iterator[str]:
    """Yield a command as lines that a shell reads as one, broken before an option."""
    line = ""
    for part in re.split(r" (?=-)", command):
        if line and len(line) + len(part) + 1 > width:
            yield f"{line} \\"
            line = "   "
        line = f"{line} {part}" if line else part
    yield line
