"""Tables of images and classes from spreadsheets, competitions and libraries: their separators and columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from wideresnet.datasets.layout import role_of
from wideresnet.datasets.text import Text, read_text
from wideresnet.errors import DataError

FORMATS = (
    "known are CSV with a line such as path,label, filename,class or id,label, with commas, semicolons, tabs or bars;"
    " Caffe's 'name.JPEG 65'; Kaggle's LOC_val_solution.csv; Tiny ImageNet's val_annotations.txt; the index that"
    " 'wrn data imagenet' writes; one WordNet id a line"
)
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", "": "blanks"}
TableRow = tuple[int, list[str]]                   # line number, cells

# Column names in lower case without punctuation, the most specific first.
_PATHS = tuple(
    f"{image}{noun}" for noun in ("path", "filename", "file", "name", "", "id") for image in ("", "image", "img")
)  # "path", "imagepath", …, "id"
_CLASSES = (
    "label", "class", "target", "category", "labelname", "classname", "categoryname", "name", "labelid", "classid",
    "categoryid", "classindex", "classidx", "labelidx", "labels", "classes", "predictionstring",
)  # fmt: skip
_IDS, _INDEX = ("wnid", "synset"), ("index",)      # beside a class, an index is the number of the row
_SPLITS = ("split", "set", "subset", "partition", "phase", "isvalid", "istest", "istrain")
_ANSWERS = ("rank", "index", "label", "probability")
_SAMPLE = 100                                      # lines that decide the separator


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file. ``path`` and ``label`` are the indices of the columns with images and their classes."""

    file: Path
    text: Text
    separator: str
    rows: Sequence[TableRow]
    head: Sequence[str] = ()                       # the names of the columns, where there are any
    path: int = 0
    label: int = 1
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """The number of columns of the first row."""
        return len(self.head or self.rows[0][1])

    def __str__(self) -> str:
        names, mark = list(self.head or self.rows[0][1]), SEPARATORS[self.separator]
        columns = f"{self.width} columns with {mark} between them, {names}" if self.width > 1 else "one column"
        return f"{self.file}, read as {self.text.encoding.upper()}, has {columns}"


def read_table(file: Path, is_class: Callable[[str], bool], has_ids: bool) -> Table:
    """Read a table and find its columns. ``is_class`` recognises classes, ``has_ids``: classes have ids.

    Raises DataError for a file that is not a table, and where it is unclear which columns hold images and classes.
    """
    text = read_text(file)
    content = re.sub(r"\Asep=.\r?\n", "", text.content)    # a line with which spreadsheets state the separator
    separator = _separator(content)
    rows = list(_rows(file, content, separator))
    if not rows:
        raise DataError(f"{file} is empty and lists no images", hint=FORMATS)
    if not _normalise(rows[0][1][0]).removeprefix("unnamed0") and len(rows[0][1]) > 2:
        rows = [(line, cells[1:]) for line, cells in rows]   # the index of a data frame
    table = Table(file, text, separator, rows, notes=(text.note,) if text.note else ())
    result = _by_head(table, is_class, has_ids) or _by_content(table, is_class)
    if result is None:
        raise DataError(f"{table}, and it is unclear which hold the image and the class", hint=FORMATS)
    return result


def _by_head(table: Table, is_class: Callable[[str], bool], has_ids: bool) -> Table | None:
    """Find the columns by their names. If several may hold the class, class names come before indices."""
    head = list(map(_normalise, table.rows[0][1]))
    if {*head}.issuperset(_ANSWERS):
        problem = f"{table.file} holds answers of wrn classify, not labels"
        raise DataError(problem, hint="write the true classes to a table of their own: path,label")
    paths = [head.index(name) for name in _PATHS if name in head][:1]
    groups = (_IDS, _CLASSES, _INDEX) if has_ids else (_CLASSES, _INDEX, _IDS)
    columns = {name: head.index(name) for name in head if head.index(name) not in paths}
    labels = next(filter(None, ([columns[name] for name in names if name in columns] for names in groups)), [])
    if not paths or not labels:
        return None
    first = dict(enumerate(table.rows[1][1])) if len(table.rows) > 1 else {}
    labels.sort(key=lambda column: (not is_class(first.get(column, "")), first.get(column, "").isdecimal()))
    for name in filter(columns.__contains__, _SPLITS):
        _check_one_split(table, columns[name], name)
    return replace(table, rows=table.rows[1:], head=table.rows[0][1], path=paths[0], label=labels[0])


def _check_one_split(table: Table, column: int, name: str) -> None:
    """Raise DataError where the rows are of training images and others."""
    splits = sorted({cells[column] for _, cells in table.rows[1:] if len(cells) > column})
    if len(splits) > 1 and (name.startswith("is") or any(role_of(split) == "train" for split in splits)):
        problem = f"{table.file} has the rows of several splits in its column {table.rows[0][1][column]!r}"
        raise DataError(f"{problem}: {', '.join(splits[:5])}", hint="write those of one split to a table of their own")


def _by_content(table: Table, is_class: Callable[[str], bool]) -> Table | None:
    """Accept two columns, with or without unknown column names, Tiny ImageNet's boxes, and one column."""
    first = table.rows[0][1]
    second = table.rows[1][1] if len(table.rows) > 1 else first
    if len(first) == len(second) == 2 and is_class(second[1]) and not is_class(first[1]) and not Path(first[0]).suffix:
        note = f"the first line of {table.file}, {', '.join(first)!r}, was taken for column names"
        return replace(table, rows=table.rows[1:], head=first, notes=(*table.notes, note))
    boxes = len(first) == 6 and all(cell.isdecimal() for cell in first[2:])
    return table if boxes or len(first) < 3 else None


def _normalise(head: str) -> str:
    return re.sub(r"[\W_]", "", head).casefold()


def _separator(text: str) -> str:
    """Return the separator that gives known column names, else equally long rows, else any that occurs."""
    lines = list(islice((line for line in text.splitlines() if line.strip()), _SAMPLE))
    rows = {mark: _cells(lines, mark) for mark in SEPARATORS if mark and lines and mark in lines[0]}
    named = [mark for mark, cells in rows.items() if {*_PATHS} & {*map(_normalise, cells[0])} and len(cells[0]) > 1]
    even = [mark for mark, cells in rows.items() if len({len(row) for row in cells}) == 1]
    return next(iter([*named, *even, *rows]), "")


def _cells(lines: Sequence[str], mark: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=mark, skipinitialspace=True))
    except csv.Error:
        return [lines[0].split(mark), []]


def _rows(file: Path, text: str, separator: str) -> Iterator[TableRow]:
    """Yield line numbers and cells, without empty lines."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=separator or ",", skipinitialspace=True, strict=True)
    try:
        for number, cells in enumerate(reader if separator else (line.rsplit(None, 1) for line in lines), start=1):
            if any(cell.strip() for cell in cells):
                yield reader.line_num if separator else number, [cell.strip() for cell in cells]
    except csv.Error as error:
        where = f"line {reader.line_num} of {file}, read with {SEPARATORS[separator]} between columns"
        raise DataError(f"{where}, is not a row of a table: {error}", hint=FORMATS) from error
