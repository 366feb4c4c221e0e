"""Answers of commands: which model gave them, their formats, and what was written."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import openvino
import pyarrow.parquet as pq
import pytest
from PIL import Image

from commands import Wrn
from wideresnet.bundle import read_bundle


@pytest.mark.parametrize("command", ["classify photos/a.png", "embed photos -o x.npy", "explain photos -o maps"])
@pytest.mark.parametrize("format", ["table", "json"])
def test_the_model_that_answers_is_named_on_stderr(
    wrn: Wrn, tiny: Path, photos: Path, command: str, format: str
) -> None:
    done = wrn(*command.split(), "-m", tiny, "--threads", "1", "--format", format)
    version = openvino.__version__.partition("-")[0]
    assert done.err.startswith(f"wrn_10_1.tiny: 10 classes, 32x32 pixels, openvino {version}, f32, 1 thread\n")
    assert "classes, " not in done.out


@pytest.mark.parametrize(("ending", "first"), [("csv", "path,rank,"), ("json", "["), ("jsonl", "{"), ("txt", "photos")])
def test_the_ending_of_the_file_is_its_format(wrn: Wrn, tiny: Path, photos: Path, ending: str, first: str) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    done = wrn("classify", "photos", "-m", tiny, "-o", f"out.{ending}")
    assert (done.code, done.out, Path(f"out.{ending}").read_text().startswith(first)) == (1, "", True)
    assert f"\nout.{ending}: {'table' if ending == 'txt' else ending}, 3 images, 1 failed\n" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-o out.csv --format json", "error: out.csv is the name of a csv file, not of json\nhint:  end it in .json"),
        ("-o out.json --format zoo", "error: out.json is the name of a json file, not of zoo\nhint:  end it in .txt"),
        ("-o out.xlsx", "error: no format of answers has the ending .xlsx: out.xlsx"),
        ("--rows image", "error: --rows has no effect without CSV or Parquet"),
        ("-o out.json --rows image", "error: --rows has no effect without CSV or Parquet"),
    ],
)
def test_an_ending_and_a_format_that_differ_are_refused(
    wrn: Wrn, tiny: Path, photos: Path, arguments: str, said: str
) -> None:
    done = wrn("classify", "photos", "-m", tiny, *arguments.split())
    assert (done.code, done.err.startswith(said), list(Path().glob("out*"))) == (2, True, []), done.err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_row_an_image_has_columns_for_the_classes_that_exist(
    wrn: Wrn, tiny: Path, photos: Path, ending: str
) -> None:
    arguments = ("classify", "photos", "-m", tiny, "-k", "1000000", "--rows", "image", "-o", f"out.{ending}")
    done = wrn(*arguments)
    assert (done.code, "note: -k 1000000: the model has 10 classes\n" in done.err) == (0, True), done.err
    file = Path(f"out.{ending}")
    names = file.read_text().splitlines()[0].split(",") if ending == "csv" else pq.read_table(file).column_names
    assert names[-4:] == ["label10", "probability10", "error", "hint"]
    assert len(names) == 23
    again = wrn(*arguments, "--resume")
    assert (again.code, "nothing is left to do" in again.err) == (0, True), again.err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_row_an_image(wrn: Wrn, tiny: Path, photos: Path, ending: str) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    arguments = ("classify", "photos", "-m", tiny, "-k", "2", "--rows", "image", "-o", f"out.{ending}")
    assert wrn(*arguments).code == 1
    columns = ["path", "label1", "probability1", "label2", "probability2", "error", "hint"]
    if ending == "csv":
        with Path("out.csv").open(newline="") as lines:
            names, *rows = csv.reader(lines)
        table = [dict(zip(names, row, strict=True)) for row in rows]
        assert wrn(*arguments[:-2], "--format", "csv").out == Path("out.csv").read_text()
    else:
        read = pq.read_table("out.parquet")
        names, table = read.column_names, read.to_pylist()
    assert names == columns
    expected = {answer["path"]: answer.get("predictions") for answer in wrn(*arguments[:6], "--format", "json").json}
    assert [row["path"] for row in table] == list(expected)
    for row in table:
        first, second = expected[row["path"]] or ({}, {})
        assert (row["label1"] or None, row["label2"] or None) == (first.get("label"), second.get("label"))
        assert [float(row[f"probability{rank}"] or 0) for rank in (1, 2)] == [
            scores.get("probability", 0) for scores in (first, second)
        ]
        assert bool(row["error"]) == (row["path"] == "photos/broken.png")
    complete = wrn(*arguments, "--resume")
    assert (complete.code, "is complete" in complete.err) == (1, True)


def test_resuming_a_complete_text_says_that_failures_are_not_in_it(wrn: Wrn, tiny: Path, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    assert wrn("classify", "photos", "-m", tiny, "-o", "out.txt").code == 1
    again = wrn("classify", "photos", "-m", tiny, "-o", "out.txt", "--resume")
    assert (again.code, "text does not tell whether an image of out.txt failed" in again.err) == (0, True)


def test_fine_tuning_photographs_asks_for_its_source(wrn: Wrn, photos: Path) -> None:
    Image.new("RGB", (65, 40)).save(photos / "wide.png")
    done = wrn("finetune", "--data", "photos", "-o", "run")
    assert (done.code, done.out, Path("run").exists()) == (2, "", False)
    assert done.err.startswith("error: no model to start from: --from is missing\nhint:  ")
    for name in re.findall(r"--from ([\w.]+)", done.err):
        if name != "is":
            assert wrn("info", name).code == 0


def test_fine_tuning_small_images_names_the_source_that_it_takes(wrn: Wrn, photos: Path) -> None:
    done = wrn("finetune", "--data", "photos", "-o", "run")
    assert done.err.startswith("--from is missing: the images have at most 64 pixels a side, as for wrn_16_4.cifar10\n")


def test_info_shows_the_classes_of_a_bundle(wrn: Wrn, tiny: Path) -> None:
    names = list(read_bundle(tiny).labels.names)
    assert wrn("info", tiny, "--format", "json").json["class_names"] == names
    assert f"10 classes: {', '.join(names[:5])} and 5 more licence" in " ".join(wrn("info", tiny).out.split())
    assert "tench, goldfish, " in wrn("info", "wide_resnet50_2.tv_in1k").out
