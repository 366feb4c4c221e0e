"""Numbers and tables in the form that all reports give them."""

from __future__ import annotations

import math

from wideresnet.records import Failure, Skipped
from wideresnet.report.formats import json_percent, percent, pick, plain, text_table


def test_columns_line_up() -> None:
    lines = text_table([("name", "n"), ("a", "1000"), ("longer", "1")], right={1}).splitlines()
    assert lines == ["name       n", "a       1000", "longer     1"]


def test_percent_keeps_every_printed_digit() -> None:
    assert [json_percent(fraction) for fraction in (0.78468, 1.0, 0.0, 0.9)] == [78.468, 100.0, 0.0, 90.0]
    assert json_percent(math.nan) is None
    assert (percent(0.78468), percent(0.5, 1), percent(math.nan), percent(None)) == ("78.468 %", "50.0 %", "–", "–")
    assert (percent(1.0, 2), percent(0.0, 2)) == ("100.00 %", "0.00 %")
    assert (percent(49_999 / 50_000, 2), percent(1 / 50_000, 2)) == ("99.99 %", "0.01 %")      # not all, and not none


def test_records_become_json_values_whatever_files_are_called() -> None:
    """Names may have bytes that are not UTF-8, also as keys; JSON has no nan."""
    failure = Failure("a.\udcff", "not an image")
    assert plain({"rows": (math.nan, 1.5, (failure,)), "n": 3}) == {
        "rows": [None, 1.5, [{"path": "a.\udcff", "error": "not an image", "hint": ""}]], "n": 3,
    }  # fmt: skip
    skipped = Skipped({".\udcff": 1}, notes=("x",))
    assert pick(skipped, "by_ending", "notes") == {"by_ending": {".\udcff": 1}, "notes": ["x"]}
