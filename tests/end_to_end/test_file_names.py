"""Files of any name: a row each in every format, the same names when they are read again, and a terminal left alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from commands import Wrn

NAMES = [
    b"plain.png", b"caf\xe9.png", b"caf\xe8.png", b"line\nbreak.png", b"lone\rreturn.png", b"red\x1b[31m.png",
    b"title\x1b]0;x\x07.png", b"tab\there.png", b'in"quotes".png', b"com,ma.png", b"=SUM(A1).png", b"-m.png", b"@x.png",
    b"+1.png", "e\u0301.png".encode(), "\u00e9.png".encode(), b"x" * 251 + b".png", "\U0001f431.png".encode(),
    b"back\\slash.png", b"\\udce9.png", b" a b .png", "turned\u202egnp.png".encode(), "c1\u009b31m.png".encode(),
]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders, and in them an image for each name."""
    for number, name in enumerate(NAMES):
        folder = tmp_path / "odd" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (10 * number, 255 - 10 * number, 99)).save(tmp_path / "new.png")
        os.rename(tmp_path / "new.png", os.fsencode(folder) + b"/" + name)
    return tmp_path / "odd"


def expected(photos: Path) -> list[str]:
    return sorted(str(path) for path in photos.rglob("*.png"))


def is_calm(text: str) -> bool:
    """Whether a terminal would obey nothing in it but line breaks."""
    odd = [char for char in text if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") and char != "\n"]
    return not odd and "\u202e" not in text


def csv_paths(text: str) -> list[str]:
    return [row["path"] for row in csv.DictReader(text.splitlines(keepends=True)) if row["rank"] == "1"]


PATHS: dict[str, Callable[[str], list[str]]] = {
    "json": lambda text: [answer["path"] for answer in json.loads(text)],
    "jsonl": lambda text: [json.loads(line)["path"] for line in text.split("\n")[:-1]],
}


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_json_on_stdout_and_in_files_is_valid_utf8_with_the_exact_names(
    wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    """A byte that is no UTF-8 is JSON's escape of a lone surrogate, which Python reads as the same name."""
    done = wrn("classify", photos, "-m", tiny, "--format", format)
    assert done.code == 0
    assert is_calm(done.out)
    assert sorted(PATHS[format](done.out)) == expected(photos)
    wrn("classify", photos, "-m", tiny, "--format", format, "-o", tmp_path / "answers")
    assert (tmp_path / "answers").read_bytes().decode("utf-8") == done.out


def test_csv_is_valid_utf8_and_has_a_row_a_class(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    """Line breaks within cells are quoted, cells that look like formulas stay as they are."""
    assert wrn("classify", photos, "-m", tiny, "-k", "2", "--format", "csv", "-o", tmp_path / "a.csv").code == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * len(NAMES)
    found = {row["path"] for row in rows}
    assert {f"{photos}/cat/lone\rreturn.png", f"{photos}/cat/=SUM(A1).png"} <= found
    assert {f"{photos}/dog/caf\\udce9.png", f"{photos}/dog/\\u005cudce9.png"} <= found


@pytest.mark.parametrize("format", ["table", "zoo"])
def test_lines_for_people_are_a_file_each_and_leave_the_terminal_alone(
    wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    """On stdout and in a file alike."""
    done = wrn("classify", photos, "-m", tiny, "-k", "1", "--format", format)
    assert len(done.out.splitlines()) == len(NAMES)
    assert is_calm(done.out)
    wrn("classify", photos, "-m", tiny, "-k", "1", "--format", format, "-o", tmp_path / "answers")
    assert (tmp_path / "answers").read_bytes().decode("utf-8") == done.out


def test_failures_and_errors_leave_the_terminal_alone(wrn: Wrn, tiny: Path, tmp_path: Path) -> None:
    """A failure is a line and its hint, whatever the file is called; so is an error that repeats an argument."""
    (tmp_path / "bad").mkdir()
    names = [name for name in NAMES if name != b"plain.png"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path / "bad") + b"/" + name)).write_bytes(b"no image")
    done = wrn("classify", tmp_path / "bad", "-m", tiny)
    assert done.code == 1
    assert is_calm(done.err)
    assert len([line for line in done.notes.splitlines() if not line.startswith("  hint:")]) == len(names)
    for command in (["classify", "no\x1b[31m\n\udce9"], ["info", "a\x1b]0;x\x07"], ["\x1b[31m"], ["info", "--\x1b"]):
        done = wrn(*command)
        assert done.code == 2
        assert is_calm(done.err)


@pytest.mark.parametrize("format", ["json", "csv", "table", "zoo", "parquet"])
def test_a_run_goes_on_after_files_of_any_name(
    wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path, format: str
) -> None:
    """Every file is answered once, also where others came between; a whole file is left as it is."""
    if format == "parquet":
        pytest.importorskip("pyarrow")
    command = ("classify", photos, "-m", tiny, "-k", "1", "--format", format, "-o")
    wrn(*command, tmp_path / "whole")
    part = tmp_path / "a.part"
    shutil.move(photos / "dog", tmp_path / "dog")
    from wideresnet.output.resumable_writer import ResumableWriter

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        assert wrn(*command, tmp_path / "a").code == 130
    assert part.is_file()
    shutil.move(tmp_path / "dog", photos / "dog")
    assert wrn(*command, tmp_path / "a", "--resume").code == 0
    assert sorted((tmp_path / "a").read_bytes().splitlines()) == sorted((tmp_path / "whole").read_bytes().splitlines())
    assert "is complete" in wrn(*command, tmp_path / "a", "--resume").err


def test_the_same_bytes_under_any_names_are_answered_once_for_all(wrn: Wrn, tiny: Path, photos: Path) -> None:
    """--dedupe gives each name its row."""
    first = next(photos.rglob("plain.png"))
    for path in photos.rglob("*.png"):
        if path != first:
            shutil.copyfile(first, path)
    done = wrn("classify", photos, "-m", tiny, "--dedupe", "--format", "json")
    assert sorted(answer["path"] for answer in done.json) == expected(photos)


def test_scores_are_paired_by_the_exact_names_across_formats(
    wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    """Two names that differ in one byte stay two, in every format; a resume of a whole file finds its own names."""
    suffixes = ["csv", "jsonl"]
    try:
        import pyarrow  # noqa: F401

        suffixes.append("parquet")
    except ImportError:
        pass
    for suffix in suffixes:
        command = ("evaluate", photos, "-m", tiny, "-o", tmp_path / f"s.{suffix}", "--format", "json")
        assert wrn(*command, "--report", tmp_path / "page.html").json["n"] == len(NAMES)
        assert wrn(*command, "--resume").code == 0
        assert is_calm((tmp_path / "page.html").read_text("utf-8"))
        found = wrn("compare", tmp_path / "s.csv", tmp_path / f"s.{suffix}", "--format", "json").json
        assert (found["n"], found["only_in_a"], found["only_in_b"]) == (len(NAMES), [], [])


def test_what_one_command_wrote_another_reads(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    """Reports of shards are added up, the zoo's lines are paired with their images, rows of features are named."""
    (photos / "cat" / os.fsdecode(b"broken\xff\n.png")).write_bytes(b"no image")
    for shard in "12":
        done = wrn("evaluate", photos, "-m", tiny, "--shard", f"{shard}/2", "--format", "json")
        (tmp_path / f"{shard}.json").write_text(done.out, "utf-8")
    merged = wrn("merge", tmp_path / "1.json", tmp_path / "2.json", "--format", "json").json
    assert merged["n"] == len(NAMES)
    assert [failure["path"] for failure in merged["failures"]] == [f"{photos}/cat/broken\udcff\n.png"]
    (photos / "cat" / os.fsdecode(b"broken\xff\n.png")).unlink()
    wrn("classify", photos, "-m", tiny, "--format", "zoo", "-o", tmp_path / "result.txt")
    done = wrn("evaluate", photos, "-m", tiny, "--results", tmp_path / "result.txt", "--format", "json")
    assert (done.json["n"], done.json["failures"]) == (len(NAMES), [])
    assert wrn("embed", photos, "-m", tiny, "-o", tmp_path / "out.npy").code == 0
    assert len((tmp_path / "out.npy.paths.txt").read_text("utf-8").splitlines()) == len(NAMES)


def test_explanations_of_files_of_any_name_are_written(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    """Also of a name that with the class behind it would be too long."""
    done = wrn("explain", photos, "-m", tiny, "-o", tmp_path / "maps", "--report", tmp_path / "maps.html")
    assert (done.code, len(done.out.splitlines())) == (0, len(NAMES))
    assert is_calm(done.out)
    assert is_calm((tmp_path / "maps.html").read_text("utf-8"))
    assert len(list((tmp_path / "maps").iterdir())) == len(NAMES)


def test_a_data_set_whose_folder_is_no_utf8_can_be_learnt_from_and_measured(
    wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    """Its name is in the card, the report and the page; its index names every image."""
    data, run = tmp_path / os.fsdecode(b"d\xe9\x1b[31m"), tmp_path / os.fsdecode(b"r\xe9")
    shutil.move(photos, data)
    done = wrn("finetune", "--from", tiny, "--data", data, "-o", run)
    assert done.code == 0
    assert is_calm(done.out + done.err)
    done = wrn("evaluate", run / "val.csv", "-m", run / "bundle", "--report", run / "page.html", "--format", "json")
    assert done.code == 0
    assert done.json["model"] == r"wrn_10_1.d\udce9\x1b[31m"


def test_names_in_messages_are_no_markup(wrn: Wrn, tiny: Path, photos: Path, tmp_path: Path) -> None:
    """A folder called [red] is named as it is called."""
    shutil.move(photos, tmp_path / "[red] :cat:")
    done = wrn("finetune", "--from", tiny, "--data", tmp_path / "[red] :cat:", "-o", tmp_path / "run")
    assert done.code == 0
    assert done.notes.startswith("[red] :cat:: 19 images of 2 classes")
