"""Label files, tables and doubtful orders of labels: what is assumed is said on stderr, and stands in the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from safetensors.numpy import save_file

from commands import Wrn
from fakes import tiny_bundle, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.output.scores import as_json_line
from wideresnet.records import Scored

NAMES = tiny_bundle().labels.names


@pytest.fixture
def greys(tmp_path: Path) -> Path:
    """Ten images in a flat folder, and a table of them with semicolons in Windows-1252."""
    folder = tmp_path / "greys"
    folder.mkdir()
    for k in range(10):
        Image.new("RGB", (32, 32), (25 * k,) * 3).save(folder / f"{k}.png")
    rows = "".join(f"{k};{NAMES[k]};é\r\n" for k in range(10))
    (folder / "table.csv").write_bytes(f"id;label;note\r\n{rows}".encode("cp1252"))
    return folder


def test_a_spreadsheets_table_is_data_and_ground_truth(wrn: Wrn, tiny: Path, greys: Path) -> None:
    for command in ((greys / "table.csv",), (greys, "--labels-file", greys / "table.csv")):
        done = wrn("evaluate", *command, "-m", tiny, "--format", "json")
        assert (done.code, done.json["n"]) == (0, 10)
        assert next(line for line in done.err.splitlines() if "Windows-1252" in line).startswith("warning: ")
        assert any("Windows-1252" in each for each in done.json["warnings"])
        assert done.json["counts"]["notes"] == [each for each in done.json["warnings"] if "may be in" not in each]


def test_a_table_that_cannot_be_read_says_what_was_found(wrn: Wrn, tiny: Path, greys: Path) -> None:
    (greys / "t.csv").write_text("a;b;c\n1;2;3\n")
    done = wrn("evaluate", greys, "--labels-file", greys / "t.csv", "-m", tiny)
    assert done.code == 2
    assert "t.csv, read as UTF-8, has 3 columns with semicolons between them, ['a', 'b', 'c']" in done.err
    assert "known are CSV with a line such as path,label" in done.err


def test_the_form_of_a_label_file_is_said(wrn: Wrn, tmp_path: Path) -> None:
    answers = [Scored(f"{k}.png", k, 1, 1, (k,), (0.9,)) for k in range(3)]
    (tmp_path / "s.jsonl").write_text("".join(as_json_line(each, 0) for each in answers))
    (tmp_path / "names.txt").write_text("0: ant\n1: bee\n2: cat\n")
    done = wrn("compare", "s.jsonl", "s.jsonl", "--labels", "names.txt")
    assert (done.code, done.notes) == (0, "note: names.txt was read as lines with indices\n")
    (tmp_path / "names.txt").write_text("item {\n}\n")
    refused = wrn("compare", "s.jsonl", "s.jsonl", "--labels", "names.txt")
    assert (refused.code, "cannot read the labels names.txt" in refused.err) == (2, True)
    assert "known are one name a line" in refused.err


def test_the_label_file_of_a_model_is_noted_too(wrn: Wrn, greys: Path, tmp_path: Path) -> None:
    architecture = get_architecture("wrn_10_1")
    save_file(tiny_tensors(architecture), tmp_path / "net.safetensors")
    (tmp_path / "names.csv").write_text("index;name\n" + "".join(f"{k};{name}\n" for k, name in enumerate(NAMES)))
    model = ("-m", "net.safetensors", "--labels", "names.csv")
    done = wrn("classify", greys / "0.png", *model, "-k", "10", "--format", "json")
    assert {each["label"] for each in done.json[0]["predictions"]} == set(NAMES)
    assert "class names: names.csv was read as a table with semicolons" in done.err
    Path("result.txt").write_text("v/ant/0.png: Relay top-0 id: 0, prob: 0.9, class name: x\n".replace("ant", NAMES[0]))
    scored = wrn("evaluate", "--results", "result.txt", *model)
    assert (scored.code, "names.csv was read as a table" in scored.err) == (0, True)


def results(count: int, first: int = 0) -> None:
    """``result.txt`` of a sure network whose images are labelled one too high."""
    images = range(first, first + count)
    lines = (f"v/{(k + 1) % 10}/{k}.png: Relay top-0 id: {k % 10}, prob: 0.9, class name: x\n" for k in images)
    Path("result.txt").write_text("".join(lines))


def test_few_images_in_another_order_are_warned_of(wrn: Wrn, tiny: Path) -> None:
    """Where it takes more to be sure, which is said; enough are refused; --skip-order-check leaves a warning of it."""
    results(7)
    few = wrn("evaluate", "--results", "result.txt", "-m", tiny, "--format", "json")
    assert (few.code, few.json["n"]) == (0, 7)
    (warning,) = few.json["warnings"]
    assert "may be in another order than the classes" in warning
    assert "to be sure takes about" in warning
    assert few.notes == f"warning: {warning}\n"
    results(48)
    assert wrn("evaluate", "--results", "result.txt", "-m", tiny).code == 2
    kept = wrn("evaluate", "--results", "result.txt", "-m", tiny, "--skip-order-check")
    assert (kept.code, "are in another order" in kept.err) == (0, True)


def test_a_merged_report_is_asked_again(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    for part in (1, 2):
        results(15, first=15 * (part - 1))
        command = ("evaluate", "--results", "result.txt", "-m", tiny, "--skip-order-check", "--format", "json")
        document = wrn(*command).json
        document["counts"]["conditions"] = None
        (tmp_path / f"{part}.json").write_text(json.dumps(document))
        assert document["n"] == 15
    alone = wrn("merge", "1.json", "--format", "json")
    assert (alone.code, len(alone.json["warnings"])) == (0, 1)
    assert "15 images" in alone.json["warnings"][0]
    assert alone.notes == f"warning: {alone.json['warnings'][0]}\n"


def test_compared_files_in_another_order_are_warned_of(wrn: Wrn, tmp_path: Path) -> None:
    answers = [Scored(f"{k}.png", (k + 1) % 10, 2, 2, (k % 10, (k + 1) % 10), (0.9, 0.1)) for k in range(40)]
    (tmp_path / "s.jsonl").write_text("".join(as_json_line(each, 0) for each in answers))
    done = wrn("compare", "s.jsonl", "s.jsonl", "--format", "json")
    assert (done.code, len(done.json["warnings"])) == (0, 1)
    assert done.notes == f"warning: {done.json['warnings'][0]}\n"
