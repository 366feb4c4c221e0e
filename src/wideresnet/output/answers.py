"""Answers in words: JSON, JSON lines, CSV, or text; and as the rows of a table. One at a time, as they come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TextIO

from wideresnet.errors import ConfigError
from wideresnet.output.row_format import PARQUET, Row, Sheet, TextFormat, csv_format
from wideresnet.records import Failure, Prediction
from wideresnet.report import answer as answer_report
from wideresnet.report.escape import json_text, line_text

Answer = Prediction | Failure
COLUMNS = {"path": str, "rank": int, "index": int, "label": str, "probability": float, "error": str, "hint": str}


def as_line(answer: Answer, _number: int) -> str:
    """A line an image; failures are not among them (the door lists them on stderr)."""
    return answer_report.to_text(answer) + "\n" if isinstance(answer, Prediction) else ""


def as_zoo_lines(answer: Answer, _number: int) -> str:
    """The model zoo's ``result.txt``: a line a class, counted from 0. Failures are not among them."""
    if isinstance(answer, Failure):
        return ""
    path = line_text(answer.path)
    return "".join(
        f"{path}: Relay top-{rank} id: {score.index}, prob: {score.probability:.8f},"
        f" class name: {line_text(score.label)}\n"
        for rank, score in enumerate(answer.predictions)
    )


def as_element(answer: Answer, number: int) -> str:
    """One element of a JSON list, on a line of its own."""
    return (",\n " if number else "\n ") + _json(answer)


def as_json_line(answer: Answer, _number: int) -> str:
    """One JSON object a line."""
    return _json(answer) + "\n"


def as_rows(answer: Answer) -> list[Row]:
    """A row a class and image, likeliest first; a failure is one row with ``error`` and ``hint``."""
    if isinstance(answer, Failure):
        return [asdict(answer)]
    return [
        {"path": answer.path, "rank": rank, **asdict(score)}
        for rank, score in enumerate(answer.predictions, start=1)
    ]


TEXT_FORMATS = {
    "table": TextFormat("", as_line, ""),
    "json": TextFormat("[", as_element, "\n]\n"),
    "jsonl": TextFormat("", as_json_line, ""),
    "csv": csv_format(COLUMNS, as_rows),
    "zoo": TextFormat("", as_zoo_lines, ""),
}
ANSWERS = Sheet(TEXT_FORMATS, COLUMNS, as_rows)


def write_answers(answers: Iterable[Answer], format: str, out: TextIO) -> None:
    """All answers to a stream, each before the next one is asked for. Raises ConfigError for Parquet."""
    if format == PARQUET:
        raise ConfigError("Parquet cannot be written to a terminal or pipe", hint="name a file with -o")
    written = TEXT_FORMATS[format]
    out.write(written.head)
    for number, answer in enumerate(answers):
        out.write(written.one(answer, number))
    out.write(written.tail)


def _json(answer: Answer) -> str:
    return json_text(answer_report.to_json(answer))
