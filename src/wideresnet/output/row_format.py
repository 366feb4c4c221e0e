"""The formats of one kind of record: as text, as rows of a table, and back from JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from wideresnet.errors import needs_extra
from wideresnet.report.escape import cell_text, unescaped

PARQUET = "parquet"
Row = dict[str, object]


@dataclass(frozen=True)
class TextFormat:
    """A text file: ``head``, then the text of each record by its number (from 0), then ``tail``."""

    head: str
    record_text: Callable[[Any, int], str]
    tail: str

    def write(self, records: Iterable[Any], out: TextIO) -> None:
        """Write all records, each before the next one is requested."""
        out.write(self.head)
        for number, record in enumerate(records):
            out.write(self.record_text(record, number))
        out.write(self.tail)


@dataclass(frozen=True)
class RecordLayout:
    """The formats of one kind of record.

    ``columns`` are those of CSV and Parquet, ``to_rows`` gives a record's rows by them. ``from_json`` is the inverse
    of ``dataclasses.asdict`` and JSON. ``metadata`` is that of a Parquet file.
    """

    text_formats: Mapping[str, TextFormat]
    columns: Mapping[str, type[str] | type[int] | type[float]]
    to_rows: Callable[[Any], list[Row]]
    from_json: Callable[[Mapping[str, Any]], Any]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def with_columns(
        self, columns: Mapping[str, type[str] | type[int] | type[float]], to_cells: Callable[[Any], Row]
    ) -> RecordLayout:
        """Return the layout with further columns at the end; ``to_cells`` are their cells in every row of a record."""
        names = {**self.columns, **columns}

        def to_rows(record: Any) -> list[Row]:
            cells = to_cells(record)
            return [row | cells for row in self.to_rows(record)]

        formats = {**self.text_formats, "csv": csv_format(names, to_rows)}
        return replace(self, text_formats=formats, columns=names, to_rows=to_rows)


def csv_format(columns: Iterable[str], to_rows: Callable[[Any], list[Row]]) -> TextFormat:
    """Return a format with a header, then the rows of each record; absent cells are empty."""
    names = tuple(columns)

    def record_text(record: Any, _number: int) -> str:
        return "".join(csv_line(to_cells(row).get(name) for name in names) for row in to_rows(record))

    return TextFormat(",".join(names) + "\n", record_text, "")


def csv_line(cells: Iterable[object]) -> str:
    """Return one row. Cells with a line break of any kind are quoted, also with a lone carriage return."""
    line = io.StringIO()
    # Before Python 3.13 only the line breaks of the terminator itself are quoted.
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def read_rows(
    file: Path, format: str, columns: Collection[str], only: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV or Parquet file with ``columns``, or of a file with a JSON object on each line.

    ``only``: the columns to read of Parquet. Raises OSError, MissingExtra, and ValueError for other content.
    """
    if format == PARQUET:
        with needs_extra("reading Parquet", "parquet"):
            import pyarrow.parquet as pq
        with pq.ParquetFile(file) as parquet:
            if missing := {*only} - {*parquet.schema_arrow.names}:
                raise ValueError(f"it has no column {missing}")
            for batch in parquet.iter_batches(columns=only or None):
                yield from map(from_cells, batch.to_pylist())
        return
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        if format == "csv":
            head = lines.readline()
            mark = next((mark for mark in ";\t" if mark in head), ",")       # as spreadsheets save it
            lines.seek(0)
            rows = csv.DictReader(lines, delimiter=mark)
            if tuple(rows.fieldnames or ())[: len(columns)] != tuple(columns):     # calibrated models have more
                raise ValueError(f"its columns are {rows.fieldnames}, expected {list(columns)}")
            yield from map(from_cells, rows)
        else:                                      # an object a line, in a list or not
            texts = (line.strip(" ,\r\n") for line in lines)
            yield from (json.loads(text) for text in texts if text not in ("", "[", "]"))


def to_cells(row: Row) -> Row:
    """Return a row with its text as valid UTF-8; ``from_cells`` is the inverse."""
    return {name: cell_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}


def from_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of CSV or Parquet as it was before ``to_cells``."""
    return {name: unescaped(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
