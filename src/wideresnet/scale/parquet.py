"""Parquet files of pictures: a row each, its bytes in a column, as Hugging Face's data sets have them too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wideresnet.errors import DataError
from wideresnet.records import Item
from wideresnet.scale.store import Store, split

BYTES, PATH, LABEL = "bytes", "path", "label"
_PREFIXES = ("", "image.", "img.")                 # of structs that hold both


@dataclass(frozen=True)
class PictureFile:
    """An open file. ``path`` and ``label`` are the columns' names, empty where there is none."""

    file: Any                                      # pyarrow.parquet.ParquetFile
    source: str
    path: str
    label: str


def open_pictures(uri: str) -> PictureFile:
    """A Parquet file of pictures by path or URI. Raises DataError for any other."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    root, name = split(uri)
    try:
        file = ParquetFile(Store(root).open(name))
    except FileNotFoundError as error:
        raise DataError(f"no file {uri}", hint="check the spelling and the folder") from error
    except pa.ArrowException as error:
        raise DataError(f"{uri} is no Parquet file: {error}") from error
    columns = [file.schema.column(index).path for index in range(len(file.schema))]
    for prefix in _PREFIXES:
        if prefix + BYTES in columns:
            path = prefix + PATH if prefix + PATH in columns else ""
            return PictureFile(file, prefix + BYTES, path, LABEL if LABEL in columns else "")
    raise DataError(
        f"{uri} has no column of pictures, but {', '.join(columns)}",
        hint=f"expected {BYTES!r} (a JPEG, PNG, … a row) and, if you like, {PATH!r} and {LABEL!r}, or a struct 'image'",
    )


def read_rows(uri: str, first: int, count: int) -> Iterator[Item]:
    """The pictures of ``count`` rows, a group of rows at a time. Raises DataError."""
    opened, start = open_pictures(uri), 0
    columns = [name for name in (opened.source, opened.path, opened.label) if name]
    for group in range(opened.file.num_row_groups):
        rows = opened.file.metadata.row_group(group).num_rows
        low, high = max(first - start, 0), min(first + count - start, rows)
        if low < high:
            table = opened.file.read_row_group(group, columns=columns).slice(low, high - low).flatten()
            for place, row in enumerate(table.to_pylist(), start=start + low):
                label = row.get(opened.label)
                name = str(row.get(opened.path) or f"{uri}#{place}")
                yield Item(name, row[opened.source] or b"", None if label is None else int(label))
        start += rows


def labels_in(uri: str) -> list[int]:
    """The classes of all rows. Raises DataError where there is no such column, or a row has none."""
    opened = open_pictures(uri)
    if not opened.label:
        raise DataError(f"{uri} has no column {LABEL!r}", hint="it holds the index of each picture's class")
    found = opened.file.read(columns=[opened.label])[opened.label].to_pylist()
    if None in found:
        raise DataError(f"row {found.index(None)} of {uri} has no {LABEL}")
    return [int(each) for each in found]
