"""Rows as Parquet: a file in pieces, each whole on the disk, which become one at the end (extra ``parquet``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wideresnet.errors import needs_extra
from wideresnet.output.row_format import Row, to_cells

PIECE = 8192                                       # rows in memory, as Python objects
ROWS = 65536                                       # of a group in the finished file


class Shards:
    """Rows on their way into ``folder``; ``count`` pieces there count, what lies beyond is written over."""

    def __init__(self, folder: Path, count: int, columns: Mapping[str, type]) -> None:
        self._schema = schema_of(columns)
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa, self._pq = pa, pq
        self._folder, self._count = folder, count
        self._rows: list[Row] = []

    def add(self, rows: list[Row]) -> None:
        """Rows with the columns as keys; absent ones are null."""
        self._rows += rows
        if len(self._rows) >= PIECE:
            self.flush()

    def flush(self) -> int:
        """Write the rows so far as one more piece; the number of pieces."""
        if self._rows:
            path = self._path(self._count)
            self._pq.write_table(table_of(self._rows, self._schema), path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            self._rows, self._count = [], self._count + 1
        return self._count

    def merge(self, path: Path) -> None:
        """All pieces as one file, in memory for one group of rows."""
        with self._pq.ParquetWriter(path, self._schema) as writer:
            tables: list[Any] = []
            for number in range(self._count):
                tables.append(self._pq.read_table(self._path(number)))
                if sum(table.num_rows for table in tables) >= ROWS:
                    writer.write_table(self._pa.concat_tables(tables))
                    tables = []
            writer.write_table(self._pa.concat_tables([self._schema.empty_table(), *tables]))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"


def schema_of(columns: Mapping[str, type]) -> Any:
    """Arrow's schema of a sheet's columns. Raises MissingExtra."""
    with needs_extra("writing Parquet", "parquet"):
        import pyarrow as pa
    kinds = {str: pa.string(), int: pa.int32(), float: pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in columns.items()])


def table_of(rows: Iterable[Row], schema: Any) -> Any:
    """Arrow's table of rows; what a row lacks is null. Text is written as by ``to_cells``."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(map(to_cells, rows)), schema)
