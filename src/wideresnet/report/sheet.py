"""How one kind of record is written to a file that grows: as text, or as the rows of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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
        out = io.StringIO()
        csv.DictWriter(out, names, lineterminator="\n").writerows(rows(record))
        return out.getvalue()

    return TextFormat(",".join(names) + "\n", one, "")
