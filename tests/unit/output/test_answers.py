"""Answers in every format, each written before the next one is asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import pytest

from fakes import calibrated_bundle, tiny_bundle
from wideresnet.errors import ConfigError
from wideresnet.output.answers import ANSWER_LAYOUT, COLUMNS, to_table, with_uncertainty, write_answers
from wideresnet.records import Failure, LabelScore, Prediction

ANSWERS: list[Prediction | Failure] = [
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


def written(format: str, answers: list[Prediction | Failure]) -> str:
    out = io.StringIO()
    write_answers(answers, format, out)
    return out.getvalue()


def test_json_is_one_document() -> None:
    assert json.loads(written("json", ANSWERS)) == DOCUMENTS
    assert json.loads(written("json", [])) == []


def test_jsonl_is_a_document_a_line() -> None:
    assert [json.loads(line) for line in written("jsonl", ANSWERS).splitlines()] == DOCUMENTS


def test_csv_has_a_row_a_class_and_one_a_failure() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv", ANSWERS))))
    assert tuple(rows[0]) == tuple(COLUMNS)
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


def test_the_zoos_lines_count_from_zero_and_hold_no_failures() -> None:
    assert written("zoo", ANSWERS).splitlines() == [
        "käse, 1.png: Relay top-0 id: 3, prob: 0.75000000, class name: cat",
        'käse, 1.png: Relay top-1 id: 5, prob: 0.25000000, class name: a "dog"',
        "b.png: Relay top-0 id: 0, prob: 1.00000000, class name: plane",
    ]
    broken = Prediction("a\r\nb.png", (LabelScore(0, "pla\nne", 1.0),))
    line = "a\\u000d\\u000ab.png: Relay top-0 id: 0, prob: 1.00000000, class name: pla\\u000ane\n"
    assert written("zoo", [broken]) == line


def test_parquet_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="Parquet cannot be written") as caught:
        written("parquet", ANSWERS)
    assert "-o" in caught.value.hint


@pytest.mark.parametrize("format", ["json", "jsonl", "csv", "table", "zoo"])
def test_an_answer_is_written_before_the_next_is_asked_for(format: str) -> None:
    out = io.StringIO()
    written_early: list[bool] = []

    def answers() -> Iterator[Prediction | Failure]:
        yield ANSWERS[0]
        written_early.append("cat" in out.getvalue())

    write_answers(answers(), format, out)
    assert written_early == [True]


def test_answers_of_calibrated_models_have_further_columns() -> None:
    """At the end, so that the places of the others stay; and none for failures."""
    card = calibrated_bundle(tiny_bundle()).card
    classes = (LabelScore(3, "cat", 0.75), LabelScore(5, "dog", 0.25))
    answer = Prediction("a.png", classes, ("cat", 'a "dog"'), 0.25, False)
    layout, out = with_uncertainty(ANSWER_LAYOUT, card, 0.9), io.StringIO()
    write_answers([answer, Failure("b.png", "cut short")], "csv", out, layout)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert list(rows[0]) == [*COLUMNS, "p_known", "unknown", "set"]
    assert [(row["p_known"], row["unknown"]) for row in rows] == [("0.25", "0"), ("0.25", "0"), ("", "")]
    assert json.loads(rows[0]["set"]) == ["cat", 'a "dog"']
    assert layout.from_json(json.loads(written("jsonl", [answer]))) == answer


def test_other_models_and_answers_without_sets_have_no_further_columns() -> None:
    assert with_uncertainty(ANSWER_LAYOUT, tiny_bundle().card, 0.9) is ANSWER_LAYOUT
    assert "set" not in with_uncertainty(ANSWER_LAYOUT, calibrated_bundle(tiny_bundle()).card, 0).columns


def test_a_table_of_calibrated_answers_has_their_further_columns() -> None:
    pytest.importorskip("pyarrow")
    known = Prediction("a.png", (LabelScore(3, "cat", 0.75),), None, 0.25, False)
    failure = Failure("b.png", "cut short")
    assert to_table([known, failure]).column_names == [*COLUMNS, "p_known", "unknown"]
    with_set = Prediction("c.png", (LabelScore(3, "cat", 0.75),), ("cat", "dog"), 0.01, True)
    rows = to_table(iter([known, with_set, failure])).to_pylist()
    cells = [(row["p_known"], row["unknown"], row["set"]) for row in rows]
    assert cells == [(0.25, 0, None), (0.01, 1, '["cat", "dog"]'), (None, None, None)]
    assert to_table(ANSWERS).column_names == [*COLUMNS]
