"""Rows of CSV that come back as they were written, on every Python."""

from __future__ import annotations

import csv
import io

from wideresnet.output.row_format import csv_line, from_cells, to_cells

CELLS = [
    "lone\rreturn", "line\nbreak", "both\r\n", "com,ma", 'in"quotes"', "=SUM(A1)", "-m", "+1", "@x", "007", "NA", " a ",
    "", "\x1b[31m",
]  # fmt: skip


def test_every_cell_comes_back_and_a_row_is_one_row() -> None:
    """csv before Python 3.13 leaves a lone carriage return unquoted, and then reads two rows."""
    rows = list(csv.reader(io.StringIO(csv_line(CELLS) + csv_line(CELLS), newline="")))
    assert rows == [CELLS, CELLS]


def test_every_text_of_a_row_is_valid_utf8_and_comes_back() -> None:
    """Labels and errors may name a file too."""
    row = {"path": "caf\udce9", "label": "\\u0041", "rank": 1, "error": None}
    assert "".join(str(cell) for cell in to_cells(row).values()).encode("utf-8")
    assert from_cells(to_cells(row)) == row
