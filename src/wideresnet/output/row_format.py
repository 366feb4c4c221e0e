"""How one kind of record is written to a file that grows: as text, or as the rows of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wideresnet.report.escape import cell_text, unescaped

PARQUET = "parquet"
Row = dict[str, object]


@dataclass(frozen=True)
class TextFormat:
    """``head``, then each record by its number (from 0), then ``tail``: the text of a whole file."""

    head: str
    one: Callable[[Any, int], str]
    tail: str


@dataclass(frozen=True)
class Sheet:
    """The text formats by name, the columns of CSV and Parquet with their types, and a record's rows in them."""

    formats: Mapping[str, TextFormat]
    columns: Mapping[str, type[str] | type[int] | type[float]]
    rows: Callable[[Any], list[Row]]


def csv_format(columns: Iterable[str], rows: Callable[[Any], list[Row]]) -> TextFormat:
    """A header, then the rows of each record; absent cells are empty."""
    names = tuple(columns)

    def one(record: Any, _number: int) -> str:
        return "".join(csv_line(to_cells(row).get(name) for name in names) for row in rows(record))

    return TextFormat(",".join(names) + "\n", one, "")


def csv_line(cells: Iterable[object]) -> str:
    """One row. Cells with a line break of any kind are quoted, also with a lone carriage return."""
    line = io.StringIO()
    # Before Python 3.13 only the line breaks of the terminator itself are quoted.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def to_cells(row: Row) -> Row:
    """A row with its text as valid UTF-8; ``from_cells`` is the way back."""
    return {name: cell_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def from_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV or Parquet as ``to_cells`` was given it."""
    return {name: unescaped(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
