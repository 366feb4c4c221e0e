"""Scores of images survive being written and read, to the last bit."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wideresnet.errors import DataError
from wideresnet.output.resumable_writer import open_resumable
from wideresnet.output.scores import FORMATS, SCORE_LAYOUT, read_scores
from wideresnet.records import Failure, Scored

ANSWERS = [
    Scored("a/1.png", 3, 1, 1, (3, 4, 0, 1, 2), (1 / 3, 0.1 + 0.2, 5e-324, 1e-17, 0.0), 0.1),
    Scored("a, \"b\": c\n.png", 999, 17, 0, (5, 998), (0.6, 0.4), 1 / 7),
    Failure("broken.png", "no image, \"none\"", "look at it"),
    Scored("ohne.png", 0, 0, 0, (1,), (), 0.0),
]


def written(tmp_path: Path, format: str) -> Path:
    file = tmp_path / f"scores.{format}"
    with open_resumable(file, format, {}, layout=SCORE_LAYOUT) as writer:
        for answer in ANSWERS:
            writer.add(answer)
    return file


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_read_is_what_was_written(tmp_path: Path, format: str) -> None:
    assert list(read_scores(written(tmp_path, format))) == ANSWERS


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_that_a_spreadsheet_saved_again_is_read(tmp_path: Path, mark: str) -> None:
    """With a byte order mark and its country's separator."""
    with written(tmp_path, "csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with (tmp_path / "again.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    assert list(read_scores(tmp_path / "again.csv")) == ANSWERS


@pytest.mark.parametrize("format", FORMATS)
def test_names_of_any_bytes_come_back_from_a_file_of_valid_utf8(tmp_path: Path, format: str) -> None:
    odd = ("caf\udce9.png", "caf\udce8.png", "\\udce9.png", "cr\r.png", "a\nb.png", "=1+1.png", "\x1b[31m.png")
    answers = [Scored(name, 0, 1, 1, (0,), (1.0,)) for name in odd] + [Failure(odd[0], "caf\udce9", "")]
    file = tmp_path / f"s.{format}"
    with open_resumable(file, format, {}, layout=SCORE_LAYOUT) as writer:
        for answer in answers:
            writer.add(answer)
    assert list(read_scores(file)) == answers
    if format != "parquet":
        file.read_bytes().decode("utf-8")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "path,label\na,1\n"),
        ("s.csv", ""),
        ("s.jsonl", "no json\n"),
        ("s.jsonl", '{"path": "a", "label": 1}\n'),
        ("s.parquet", "no parquet"),
    ],
)
def test_another_file_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name} holds no scores"):
        list(read_scores(tmp_path / name))


def test_a_name_says_the_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"kept as \.csv, \.jsonl, \.parquet"):
        list(read_scores(tmp_path / "scores.txt"))
    with pytest.raises(DataError, match="No such file"):
        list(read_scores(tmp_path / "scores.csv"))
