"""Rows as Parquet (extra ``parquet``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from wideresnet.errors import needs_extra
from wideresnet.output.row_format import Row, to_cells

ROW_GROUP = 65536                                  # rows; as many are in memory as Python objects


def arrow_schema(columns: Mapping[str, type], feature: str = "writing Parquet") -> Any:
    """Return Arrow's schema of columns with their Python types. Raises MissingExtra, which names the ``feature``."""
    with needs_extra(feature, "parquet"):
        import pyarrow as pa
    types = {str: pa.string(), int: pa.int32(), float: pa.float64()}
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def arrow_table(rows: Iterable[Row], schema: Any) -> Any:
    """Return Arrow's table of rows; absent cells are null. Text is written as by ``to_cells``."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(map(to_cells, rows)), schema)


def write_parquet(
    path: Path, rows: Iterable[Row], columns: Mapping[str, type], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a Parquet file, in memory for one group of rows. Raises OSError and MissingExtra."""
    schema = arrow_schema(columns).with_metadata(metadata)
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(schema.empty_table())
        remaining = iter(rows)
        while group := list(islice(remaining, ROW_GROUP)):
            writer.write_table(arrow_table(group, schema))
