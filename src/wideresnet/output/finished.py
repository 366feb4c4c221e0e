"""The failures in a finished file of answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from wideresnet.errors import ConfigError, needs_extra, os_errors_as
from wideresnet.output.answers import COLUMNS
from wideresnet.output.row_format import PARQUET


def any_failed(file: Path, format: str) -> bool:
    """Return whether an image failed, one answer in memory at a time; False for text and the zoo's lines.

    Raises ConfigError if the file was not written in this format.
    """
    try:
        with os_errors_as(ConfigError, f"cannot read {file}"):
            return _FINDERS[format](file)
    except (ValueError, KeyError) as error:        # also what pyarrow raises
        raise ConfigError(
            f"{file} exists and is not a {format} file of answers", hint="without --resume it is replaced at the end"
        ) from error


def _in_json(file: Path) -> bool:
    with file.open("rb") as lines:                 # an answer a line, in a list or not
        texts = (line.decode("utf-8", "surrogateescape").strip(" ,\n") for line in lines)
        return any("error" in json.loads(text) for text in texts if text not in ("", "[", "]"))


def _in_csv(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as lines:
        rows = csv.DictReader(lines)
        if tuple(rows.fieldnames or ()) != tuple(COLUMNS):
            raise ValueError("other columns")
        return any(row["error"] for row in rows)


def _in_parquet(file: Path) -> bool:
    with needs_extra("reading Parquet", "parquet"):
        import pyarrow.parquet as pq
    with pq.ParquetFile(file) as parquet:
        batches = parquet.iter_batches(columns=["error"])
        return any(batch.column("error").null_count < batch.num_rows for batch in batches)


_FINDERS = {
    "table": lambda _: False, "zoo": lambda _: False, "json": _in_json, "jsonl": _in_json, "csv": _in_csv,
    PARQUET: _in_parquet,
}  # fmt: skip
