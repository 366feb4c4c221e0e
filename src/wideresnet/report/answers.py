"""Streams of answers as files: JSON, JSON lines, CSV, Parquet, or text. Written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from wideresnet.errors import ConfigError, needs_extra
from wideresnet.records import Failure, Prediction
from wideresnet.report import document, text

Answer = Prediction | Failure
FIELDS = ("path", "rank", "index", "label", "probability", "error", "hint")


def write_table(answers: Iterable[Answer], out: TextIO) -> None:
    """A line a picture; failures are not among them (the door lists them on stderr)."""
    for answer in answers:
        if isinstance(answer, Prediction):
            out.write(text.of_prediction(answer) + "\n")


def write_json(answers: Iterable[Answer], out: TextIO) -> None:
    """One JSON list, an element a line."""
    out.write("[")
    for index, answer in enumerate(answers):
        out.write((",\n " if index else "\n ") + _json(answer))
    out.write("\n]\n")


def write_jsonl(answers: Iterable[Answer], out: TextIO) -> None:
    """One JSON object a line."""
    for answer in answers:
        out.write(_json(answer) + "\n")


def write_csv(answers: Iterable[Answer], out: TextIO) -> None:
    """A row a class and picture, likeliest first; a failure is one row with ``error`` and ``hint``."""
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        writer.writerows(_rows(answer))


def write_parquet(answers: Iterable[Answer], path: Path, rows_per_group: int = 65536) -> None:
    """The rows of ``write_csv`` as Parquet. Needs the extra ``parquet``."""
    with needs_extra("writing Parquet", "parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    kinds = (pa.string(), pa.int32(), pa.int32(), pa.string(), pa.float64(), pa.string(), pa.string())
    schema = pa.schema(list(zip(FIELDS, kinds, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:
        rows: list[dict[str, object]] = []
        for answer in answers:
            rows += _rows(answer)
            if len(rows) >= rows_per_group:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


TEXT_WRITERS: dict[str, Callable[[Iterable[Answer], TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


def write_answers(answers: Iterable[Answer], format: str, out: TextIO, file: Path | None) -> None:
    """In one of the formats: to ``file``, in place only when whole, or to ``out`` when there is none."""
    if file is None:
        if format == "parquet":
            raise ConfigError("Parquet cannot be written to a terminal or pipe", hint="name a file with -o")
        TEXT_WRITERS[format](answers, out)
        return
    part = file.with_name(f".{file.name}.part")
    try:
        if format == "parquet":
            write_parquet(answers, part)
        else:
            with part.open("w", encoding="utf-8", newline="") as stream:
                TEXT_WRITERS[format](answers, stream)
        part.replace(file)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _json(answer: Answer) -> str:
    return json.dumps(document.of_answer(answer), ensure_ascii=False)


def _rows(answer: Answer) -> list[dict[str, object]]:
    if isinstance(answer, Failure):
        return [asdict(answer)]
    return [
        {"path": answer.path, "rank": rank, **asdict(score)}
        for rank, score in enumerate(answer.predictions, start=1)
    ]
