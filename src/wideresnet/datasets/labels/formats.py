"""Class names in files of many formats: lists, numbered lines, tables, JSON and printed Python values.

The complete file decides the format: numbers are indices only where they are 0 to C - 1 (or 1 to C), each once.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wideresnet.datasets.labels import format_labels, parse_labels, read_labels
from wideresnet.datasets.text import nfc, read_text
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Labels

FORMATS = (
    "known are one name a line; 'id<TAB>name', 'n01440764 name', 'index name' (also with a tab, comma, colon, …); CSV"
    " with a line such as index,name; as JSON or printed by Python a list, {index: name}, {index: [id, name]} or"
    " {name: index}; a config with id2label"
)
MAX_BYTES, MAX_LENGTH = 2**22, 1000                # of a file, characters of a line
Entry = tuple[str, str]                            # id or "", name
Parsed = tuple[list[Entry], str]                   # by index, and their format where that was a guess
Cells = Sequence[Sequence[str]]                    # of rows

_LABEL_KEYS = ("id2label", "label2id", "names", "class_names", "classes", "labels", "class_to_idx", "categories")
_NAME_KEYS = ("name", "label", "class_name", "class", "words")
_INDEX_KEYS = ("index", "id", "class_id", "label")
_INDEX, _MARK = r"(?P<index>[0-9]{1,9})", r"(?P<mark>\s*[,;:|=]\s*|[.)]\s+|\s+-\s+|\s+)"
_NUMBERED = (re.compile(rf"[\"']?{_INDEX}[\"']?{_MARK}(?P<name>\S.*)"), re.compile(rf"(?P<name>.*?\S){_MARK}{_INDEX}"))
_ID = re.compile(r"n[0-9]{8}")
_ID_AND_NAME = re.compile(r"(n[0-9]{8})[\s,;:|=]+(\S.*)")
_ID_INDEX_NAME = re.compile(r"(n[0-9]{8})\s+([0-9]{1,9})\s+(\S.*)")
_QUOTED = re.compile(r"""(["'])(.*)\1,?""")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")       # and bytes that are no text
_SYNTAX = re.compile(r"""["{].*|-\s.*|\[\s*["'\[{].*|.*([,{]|\[[^\]]*|["']\s*[\]}]|["'],)|[\]}],?|[^\[]*\].*""")


@dataclass(frozen=True)
class LabelFile:
    """The classes of a file by index, and assumptions about its encoding and format."""

    labels: Labels
    notes: tuple[str, ...] = ()


def read_label_file(file: Path) -> LabelFile:
    """Read class names from a file in one of ``FORMATS``. Raises ConfigError for others and for ambiguous files."""
    try:
        text = read_text(file, MAX_BYTES)
        entries, form = _parse(text.content.strip())
        labels = _labels(entries)
    except DataError as error:
        reason = error.message.removeprefix(f"cannot read {file}: ")
        raise ConfigError(f"cannot read the labels {file}: {reason}", error.hint or FORMATS) from error
    notes = (text.note, f"{file} was read as {form}" if form else "")
    return LabelFile(labels, tuple(filter(None, notes)))


def read_list_or_file(name: str) -> LabelFile:
    """Read the file or the list of ``LABEL_LISTS`` called ``name``; "" has no classes. Raises ConfigError."""
    if Path(name).is_file():
        return read_label_file(Path(name))
    return LabelFile(read_labels(name) if name else Labels(()))


def _parse(text: str) -> Parsed:
    body = re.sub(r"^\w+\s*=\s*(?=[\[{(])", "", text).rstrip(";")
    if body[:1] + body[-1:] in ("[]", "{}", "()") and (value := _literal(body)) is not None:
        return _parse_value(value)
    lines = [line.strip() for line in text.splitlines()]
    if not lines or "" in lines:
        raise DataError(f"line {lines.index('') + 1} of {len(lines)} is blank" if lines else "it is empty")
    if len(lines) == 1 and len(cells := _cells(lines, ",")[0]) > 1:
        return [("", cell) for cell in cells], "one line of names with commas between them"
    if max(map(len, lines)) > MAX_LENGTH:
        raise DataError(f"a line has more than {MAX_LENGTH} characters")
    for rows, form in _find_tables(lines):
        if parsed := _parse_columns(rows, (), form) or _parse_columns(rows[1:], rows[0], form):
            return parsed
    if any("\t" in line for line in lines):
        labels = parse_labels("\n".join(lines))
        return list(zip(labels.ids, labels.names, strict=True)), ""
    return [("", line) for line in lines], ""


def _literal(text: str) -> object:
    """Return the value of JSON, or of a list, tuple or dictionary printed by Python; None for other text."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    silence = warnings.catch_warnings(action="ignore")       # of invalid escapes in texts
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError), silence:
        return ast.literal_eval(text)
    return None


def _parse_value(value: object) -> Parsed:
    """Parse a list of entries, or a mapping from or to indices."""
    if isinstance(value, Mapping):
        inner = next((value[key] for key in _LABEL_KEYS if isinstance(value.get(key), Mapping | list | tuple)), None)
        if inner is not None:
            return _parse_value(inner)
        keys, values = list(value), list(value.values())
        if all(isinstance(key, str) and isinstance(index, int) for key, index in value.items()):
            keys, values = values, keys
        if all(_ID.fullmatch(str(key)) for key in keys) and keys == sorted(keys):
            return [(key, _parse_entry(name)[1]) for key, name in value.items()], "names in the order of their ids"
        return _sort_by_index(keys, list(map(_parse_entry, values)), "")
    if not isinstance(value, list | tuple):
        raise DataError("it holds neither a list nor a mapping")
    entries, maps = list(map(_parse_entry, value)), [item for item in value if isinstance(item, Mapping)]
    indices = [max(_index(item.get(key)) for key in _INDEX_KEYS) for item in maps]
    return _sort_by_index(indices, entries, "") if any(index >= 0 for index in indices) else (entries, "")


def _parse_entry(value: Any) -> Entry:
    """Parse ``name``, ``[id, name]`` or ``{"id": …, "name": …}``."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in _NAME_KEYS if isinstance(value.get(key), str)), None)
    if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
        return value[0], _parse_entry(value[1])[1]
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise DataError(f"expected a name, found {str(value)[:40]!r}")
    return "", str(value)                          # digits are classes too: [0, 1, 2]


def _sort_by_index(cells: Sequence[object], entries: Sequence[Entry], form: str) -> Parsed:
    """Sort entries by their indices. Raises DataError where those are not 0 to C - 1 or 1 to C, each once."""
    indices, count, first = list(map(_index, cells)), len(cells), _first_index(cells)
    if first is None or len(entries) != count:
        missing = next((index for index in range(count) if index not in indices), count)
        raise DataError(f"its indices are not 0 to {count - 1}, each once: {missing} is missing")
    if first and count == 1000:
        problem = "its indices are 1 to 1000, which may be ImageNet's in the order of the development kit"
        raise DataError(problem, hint="write the names in the order of the network's outputs, one a line")
    ordered = [entry for _, entry in sorted(zip(indices, entries, strict=True))]
    return ordered, f"{form or 'names with indices'}, counted from 1" if first else form


def _first_index(cells: Sequence[object]) -> int | None:
    """Return the first index where the cells are 0 to C - 1 or 1 to C in any order, else None."""
    numbers = sorted(map(_index, cells))
    return numbers[0] if numbers in (list(range(len(cells))), list(range(1, len(cells) + 1))) else None


def _index(cell: object) -> int:
    """Return an integer, or digits as one; -1 for anything else."""
    digits = str(cell) if isinstance(cell, str | int) else ""
    return int(digits) if re.fullmatch("[0-9]{1,9}", digits) else -1


def _find_tables(lines: Sequence[str]) -> Iterator[tuple[Cells, str]]:
    """Yield the lines as rows of equally many cells, or of an index and a name, perhaps below column names."""
    for mark, name in {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}.items():
        rows = _cells(lines, mark)
        if len(rows[0]) > 1 and len({len(row) for row in rows}) == 1:
            yield rows, f"a table with {name} between its columns"
    triples = [match.groups() for line in lines if (match := _ID_INDEX_NAME.fullmatch(line))]
    if len(triples) == len(lines) and _first_index([index for _, index, _ in triples]) is not None:
        yield triples, "lines with ids and indices"
    for pattern in _NUMBERED:
        matches = [match for line in lines if (match := pattern.fullmatch(line))]
        marks, head = {match["mark"].strip() for match in matches}, lines[: len(lines) - len(matches)]
        if len(marks) == 1 and len(matches) > 1 and len(head) < 2 and not any(map(pattern.fullmatch, head)):
            yield from _numbered_rows([(match["index"], match["name"]) for match in matches], marks.pop(), head)


def _numbered_rows(rows: Sequence[tuple[str, str]], mark: str, head: Sequence[str]) -> Iterator[tuple[Cells, str]]:
    """Yield rows of an index and a name. Raises DataError where the numbers may be part of the names."""
    indices, names = zip(*rows, strict=True)
    sure = mark in tuple(",;:|=")
    if (head and not (sure and mark in head[0])) or (not sure and len(set(names)) <= len(names) / 2):
        return                                     # "1 star", "2 stars" and "class 0" are names
    yield [*(("", "") for _ in head), *rows], "lines with indices"
    numbers = list(map(int, indices))
    ordered = numbers[0] in (0, 1) and numbers == sorted({*numbers})     # "7 up" is a name, "0 tench" is none
    close = len(numbers) > 5 and max(numbers) <= 2 * len(numbers) and len({*numbers}) > 0.8 * len(numbers)
    if sure or ordered or close:
        _sort_by_index(indices, [("", name) for name in names], "")


def _cells(lines: Sequence[str], mark: str) -> Cells:
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark, skipinitialspace=True)]
    except csv.Error:
        return [[line] for line in lines]


def _parse_columns(rows: Cells, head: Sequence[str], form: str) -> Parsed | None:
    """Parse columns of indices or WordNet ids and one of names: the only other one, or the one with such a head."""
    columns = list(zip(*rows, strict=True))
    indices = [number for number, cells in enumerate(columns) if _first_index(cells) is not None][:1]
    ids = [number for number, cells in enumerate(columns) if all(map(_ID.fullmatch, cells))][:1]
    if len(rows) < 2 or not indices + ids or any(_index(cell) >= 0 or _ID.fullmatch(cell) for cell in head):
        return None
    names = [number for number in range(len(columns)) if number not in indices + ids]
    named = [number for number in names if head and head[number].casefold() in _NAME_KEYS]
    if len(names) > 1 and len(named) != 1:
        raise DataError(f"it has {len(columns)} columns, and it is unclear which holds the names: {list(rows[0])}")
    chosen = columns[(named or names or ids)[0]]
    entries = list(zip(columns[ids[0]] if ids else [""] * len(rows), chosen, strict=True))
    return _sort_by_index(columns[indices[0]], entries, form) if indices else (entries, form)


def _labels(entries: Sequence[Entry]) -> Labels:
    """Strip quotes and split off WordNet ids where all names have one. Raises DataError for invalid names."""
    ids, names = [id_ for id_, _ in entries], [nfc(_unquoted(name.strip())) for _, name in entries]
    if not any(ids) and all(matches := [_ID_AND_NAME.fullmatch(name) for name in names]):
        ids, names = [match[1] for match in matches if match], [_unquoted(match[2]) for match in matches if match]
    if invalid := [name for name in (*names, *ids) if _SYNTAX.fullmatch(name) or _CONTROL.search(name)]:
        raise DataError(f"{invalid[0][:60]!r} looks like a part of another format, not like a name")
    if any(ids) and not all(ids):
        raise DataError(f"{names[ids.index('')]!r} has no id, others have one")
    if not any(ids) and all(map(_ID.fullmatch, names)):
        imagenet = read_labels("imagenet")
        by_id = dict(zip(imagenet.ids, imagenet.names, strict=True))
        ids, names = names, [by_id.get(id_, id_) for id_ in names]
    return parse_labels(format_labels(Labels(tuple(names), tuple(ids) if any(ids) else ())))


def _unquoted(name: str) -> str:
    match = _QUOTED.fullmatch(name)
    return match[2] if match else name
