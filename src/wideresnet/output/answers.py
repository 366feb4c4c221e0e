"""The formats of answers: text, JSON, JSON lines, CSV, and rows of a table, one answer at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.output.parquet import arrow_schema, arrow_table
from wideresnet.output.row_format import PARQUET, RecordLayout, Row, TextFormat, csv_format, read_rows
from wideresnet.records import Failure, LabelScore, ModelCard, Prediction
from wideresnet.report import answer as answer_report
from wideresnet.report.escape import json_text, line_text

RowOf = Literal["class", "image"]
COLUMNS: dict[str, type[str] | type[int] | type[float]] = {
    "path": str, "rank": int, "index": int, "label": str, "probability": float, "error": str, "hint": str,
}  # fmt: skip


def as_line(answer: Prediction | Failure, _number: int, language: str = "en") -> str:
    """Return a line an image; nothing for failures, which the command lists on stderr."""
    return answer_report.to_text(answer, language) + "\n" if isinstance(answer, Prediction) else ""


def as_zoo_lines(answer: Prediction | Failure, _number: int) -> str:
    """Return lines of the model zoo's ``result.txt``, one a class, counted from 0; nothing for failures."""
    if isinstance(answer, Failure):
        return ""
    path = line_text(answer.path)
    return "".join(
        f"{path}: Relay top-{rank} id: {score.index}, prob: {score.probability:.8f},"
        f" class name: {line_text(score.label)}\n"
        for rank, score in enumerate(answer.predictions)
    )


def as_element(answer: Prediction | Failure, number: int) -> str:
    """Return one element of a JSON list, on a line of its own."""
    return (",\n " if number else "\n ") + _json(answer)


def as_json_line(answer: Prediction | Failure, _number: int) -> str:
    """Return one JSON object on a line."""
    return _json(answer) + "\n"


def as_rows(answer: Prediction | Failure) -> list[Row]:
    """Return a row a class, likeliest first; for a failure one row with ``error`` and ``hint``."""
    if isinstance(answer, Failure):
        return [asdict(answer)]
    return [
        {"path": answer.path, "rank": rank, **asdict(score)}
        for rank, score in enumerate(answer.predictions, start=1)
    ]


def from_json(values: Mapping[str, Any]) -> Prediction | Failure:
    """Return the answer of ``as_json_line``, parsed."""
    if "error" in values:
        return Failure(**values)
    labels = values.get("set")
    return Prediction(
        values["path"], tuple(LabelScore(**score) for score in values["predictions"]),
        None if labels is None else tuple(labels), values.get("p_known"), values.get("unknown"),
    )  # fmt: skip


TEXT_FORMATS = {
    "table": TextFormat("", as_line, ""),
    "json": TextFormat("[", as_element, "\n]\n"),
    "jsonl": TextFormat("", as_json_line, ""),
    "csv": csv_format(COLUMNS, as_rows),
    "zoo": TextFormat("", as_zoo_lines, ""),
}
ANSWER_LAYOUT = RecordLayout(TEXT_FORMATS, COLUMNS, as_rows, from_json)
ENDINGS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".parquet": PARQUET}


def answer_layout(k: int, row_of: RowOf = "class") -> RecordLayout:
    """Return the layout of answers of ``k`` classes with a row a class, or a row an image."""
    if row_of == "class":
        return ANSWER_LAYOUT
    names = [(f"label{rank}", f"probability{rank}") for rank in range(1, k + 1)]
    columns = {"path": str} | {name: kind for pair in names for name, kind in zip(pair, (str, float), strict=True)}

    def to_rows(answer: Prediction | Failure) -> list[Row]:
        if isinstance(answer, Failure):
            return [asdict(answer)]
        row: Row = {"path": answer.path}
        for (label, probability), score in zip(names, answer.predictions, strict=False):
            row |= {label: score.label, probability: score.probability}
        return [row]

    columns |= {"error": str, "hint": str}
    return RecordLayout(TEXT_FORMATS | {"csv": csv_format(columns, to_rows)}, columns, to_rows, from_json)


def in_language(layout: RecordLayout, language: str) -> RecordLayout:
    """Return the layout whose text has its words in ``language``, "en" or "zh"."""
    table = TextFormat("", partial(as_line, language=language), "")
    return replace(layout, text_formats={**layout.text_formats, "table": table})


def with_uncertainty(layout: RecordLayout, card: ModelCard, coverage: float) -> RecordLayout:
    """Return the layout with the further columns of calibrated models: p_known, unknown (0 or 1), set (a JSON list)."""
    return layout if card.uncertainty is None else _with_uncertainty(layout, sets=bool(coverage))


def _with_uncertainty(layout: RecordLayout, *, sets: bool) -> RecordLayout:
    def to_cells(answer: Prediction | Failure) -> Row:
        if isinstance(answer, Failure) or answer.unknown is None:
            return {}
        members: Row = {} if answer.set is None else {"set": json_text(answer.set)}
        return {"p_known": answer.p_known, "unknown": int(answer.unknown), **members}

    return layout.with_columns({"p_known": float, "unknown": int} | ({"set": str} if sets else {}), to_cells)


def choose_format(file: Path | None, format: str | None) -> str:
    """Return ``format``, or that of the ending of ``file``; a table where neither states one.

    Raises ConfigError where they differ, and for the ending of a format that does not exist.
    """
    ending = file.suffix.lower() if file else ""
    by_ending = ENDINGS.get(ending)
    if format and by_ending not in (None, format):
        suffix = next((suffix for suffix, name in ENDINGS.items() if name == format), ".txt")
        raise ConfigError(f"{file} is the name of a {by_ending} file, not of {format}", f"end it in {suffix}")
    if not (format or by_ending or ending in ("", ".txt") or not ending[1:].isalpha()):
        hint = f"end it in {', '.join(ENDINGS)} or .txt, or name the format with --format"
        raise ConfigError(f"no format of answers has the ending {ending}: {file}", hint)
    return format or by_ending or "table"


def write_answers(
    answers: Iterable[Prediction | Failure], format: str, out: TextIO, layout: RecordLayout = ANSWER_LAYOUT
) -> None:
    """Write all answers to a stream, each before the next one is requested. Raises ConfigError for Parquet."""
    if format == PARQUET:
        raise ConfigError("Parquet cannot be written to a terminal or pipe", hint="name a file with -o")
    layout.text_formats[format].write(answers, out)


def any_failed(file: Path, format: str, columns: Collection[str]) -> bool:
    """Return whether an image failed, one answer in memory at a time; False for text and the zoo's lines.

    Raises ConfigError if the file was not written in this format.
    """
    if format in ("table", "zoo"):
        return False
    try:
        with os_errors_as(ConfigError, f"cannot read {file}"):
            return any(row.get("error") for row in read_rows(file, format, columns, ["error"]))
    except (ValueError, AttributeError) as error:        # also what pyarrow raises
        hint = "without --resume it is replaced at the end"
        raise ConfigError(f"{file} exists and is not a {format} file of answers", hint) from error


def to_table(answers: Iterable[Prediction | Failure]) -> Any:
    """Return a ``pyarrow.Table`` of answers: path, rank (from 1), index, label, probability, error, hint.

    Answers of a calibrated model also have p_known, unknown (0 or 1) and, if requested, set (a JSON list).
    A prediction has a row for each of its classes, a failure one row with ``error`` and ``hint``; absent cells are
    null. ``table.to_pandas()`` makes a data frame of it. Raises MissingExtra without pyarrow (extra "parquet").
    """
    layout = _with_uncertainty(ANSWER_LAYOUT, sets=True)
    rows = [row for answer in answers for row in layout.to_rows(answer)]
    present = {*COLUMNS}.union(*rows)
    columns = {name: kind for name, kind in layout.columns.items() if name in present}
    return arrow_table(rows, arrow_schema(columns, "a table of predictions"))


def _json(answer: Prediction | Failure) -> str:
    return json_text(answer_report.to_json(answer))
