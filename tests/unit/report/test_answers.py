"""Answers in every format, written as they come, and a file only when it is whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.records import Failure, LabelScore, Prediction
from wideresnet.report.answers import FIELDS, TEXT_WRITERS, Answer, write_answers, write_parquet

ANSWERS: list[Answer] = [
    Prediction("käse, 1.png", (LabelScore(3, "cat", 0.75), LabelScore(5, 'a "dog"', 0.25))),
    Failure("bad.png", "cut short", "copy it again"),
    Prediction("b.png", (LabelScore(0, "plane", 1.0),)),
]
DOCUMENTS = [
    {
        "path": "käse, 1.png",
        "predictions": [
            {"index": 3, "label": "cat", "probability": 0.75},
            {"index": 5, "label": 'a "dog"', "probability": 0.25},
        ],
    },
    {"path": "bad.png", "error": "cut short", "hint": "copy it again"},
    {"path": "b.png", "predictions": [{"index": 0, "label": "plane", "probability": 1.0}]},
]


def written(format: str, answers: list[Answer]) -> str:
    out = io.StringIO()
    write_answers(answers, format, out, None)
    return out.getvalue()


def test_json_is_one_document() -> None:
    assert json.loads(written("json", ANSWERS)) == DOCUMENTS
    assert json.loads(written("json", [])) == []


def test_jsonl_is_a_document_a_line() -> None:
    assert [json.loads(line) for line in written("jsonl", ANSWERS).splitlines()] == DOCUMENTS


def test_csv_has_a_row_a_class_and_one_a_failure() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", ANSWERS))))
    assert tuple(rows[0]) == FIELDS
    assert [(r["path"], r["rank"], r["label"], r["error"]) for r in rows] == [
        ("käse, 1.png", "1", "cat", ""),
        ("käse, 1.png", "2", 'a "dog"', ""),
        ("bad.png", "", "", "cut short"),
        ("b.png", "1", "plane", ""),
    ]


def test_the_table_holds_no_failures() -> None:
    shown = written("table", ANSWERS)
    assert "cat 75.0 %" in shown
    assert "bad.png" not in shown


@pytest.mark.parametrize("rows_per_group", [1, 2, 65536])
def test_parquet_has_the_rows_of_csv(tmp_path: Path, rows_per_group: int) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "answers.parquet"
    write_parquet(ANSWERS, path, rows_per_group)
    rows = pq.read_table(path).to_pylist()
    assert tuple(rows[0]) == FIELDS
    assert [(r["path"], r["rank"], r["index"], r["probability"], r["hint"]) for r in rows] == [
        ("käse, 1.png", 1, 3, 0.75, None),
        ("käse, 1.png", 2, 5, 0.25, None),
        ("bad.png", None, None, None, "copy it again"),
        ("b.png", 1, 0, 1.0, None),
    ]


def test_parquet_of_nothing_still_has_its_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    write_answers([], "parquet", io.StringIO(), tmp_path / "none.parquet")
    assert tuple(pq.read_table(tmp_path / "none.parquet").column_names) == FIELDS


def test_parquet_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="Parquet cannot be written") as caught:
        written("parquet", ANSWERS)
    assert "-o" in caught.value.hint


@pytest.mark.parametrize("format", TEXT_WRITERS)
def test_a_file_holds_what_the_stream_would(tmp_path: Path, format: str) -> None:
    path = tmp_path / "answers"
    out = io.StringIO()
    write_answers(ANSWERS, format, out, path)
    assert path.read_bytes().decode() == written(format, ANSWERS)
    assert out.getvalue() == ""
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", [*TEXT_WRITERS, "parquet"])
def test_an_interrupted_run_leaves_the_old_file(tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / "answers"
    path.write_text("old")

    def until_interrupted() -> Iterator[Answer]:
        yield ANSWERS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_answers(until_interrupted(), format, io.StringIO(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot write"):
        write_answers(ANSWERS, "json", io.StringIO(), tmp_path / "absent" / "answers.json")


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "table"])
def test_an_answer_is_written_before_the_next_is_asked_for(format: str) -> None:
    out = io.StringIO()
    seen: list[bool] = []

    def answers() -> Iterator[Answer]:
        yield ANSWERS[0]
        seen.append("cat" in out.getvalue())

    write_answers(answers(), format, out, None)
    assert seen == [True]
