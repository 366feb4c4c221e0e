"""Answers in words: JSON, JSON lines, CSV, or text; and as the rows of a table. One at a time, as they come."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TextIO

from wideresnet.errors import ConfigError
from wideresnet.records import Failure, Prediction
from wideresnet.report import document, text

Answer = Prediction | Failure
FIELDS = ("path", "rank", "index", "label", "probability", "error", "hint")
PARQUET = "parquet"


@dataclass(frozen=True)
class TextFormat:
    """``head``, then each answer by its number (from 0), then ``tail``: the text of a whole file."""

    head: str
    one: Callable[[Answer, int], str]
    tail: str


def as_line(answer: Answer, _number: int) -> str:
    """A line a picture; failures are not among them (the door lists them on stderr)."""
    return text.of_prediction(answer) + "\n" if isinstance(answer, Prediction) else ""


def as_element(answer: Answer, number: int) -> str:
    """One element of a JSON list, on a line of its own."""
    return (",\n " if number else "\n ") + _json(answer)


def as_json_line(answer: Answer, _number: int) -> str:
    """One JSON object a line."""
    return _json(answer) + "\n"


def as_csv(answer: Answer, _number: int) -> str:
    """A row a class and picture, likeliest first; a failure is one row with ``error`` and ``hint``."""
    out = io.StringIO()
    csv.DictWriter(out, FIELDS, lineterminator="\n").writerows(as_rows(answer))
    return out.getvalue()


def as_rows(answer: Answer) -> list[dict[str, object]]:
    """The rows of CSV and Parquet, by ``FIELDS``; absent ones are empty."""
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
    "csv": TextFormat(",".join(FIELDS) + "\n", as_csv, ""),
}


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
    return json.dumps(document.of_answer(answer), ensure_ascii=False)
