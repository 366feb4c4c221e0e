"""``wrn data``, and what ``wrn evaluate`` and ``wrn classify`` make of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commands import Wrn
from devkit import FIRST, devkit_archive, flat, name, val_archive
from fakes import tiny_bundle
from wideresnet.bundle import write_bundle
from wideresnet.errors import EngineError
from wideresnet.records import Labels, Prediction


def test_the_official_archives_become_an_index(wrn: Wrn, tmp_path: Path) -> None:
    val, devkit = val_archive(tmp_path), devkit_archive(tmp_path)
    done = wrn("data", "imagenet", val, devkit, "--extract", "val", "-o", "val.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("val.csv: 6 of the 50,000 images of ImageNet val, 6 classes, 0 of them complete\n")
    assert Path("val.csv").read_text().splitlines()[:2] == [
        "path,index,wnid", f"val/{name(1)},{FIRST[1]},n01751748",
    ]  # fmt: skip


def test_the_document_says_what_was_found(wrn: Wrn, tmp_path: Path) -> None:
    flat(tmp_path / "val")
    devkit_archive(tmp_path)
    arguments = ("data", "imagenet", "val", "ILSVRC2012_devkit_t12.tar.gz", "-o", "val.csv", "--format", "json")
    done = wrn(*arguments, "--folders", "by-class")
    assert (done.code, done.json["pictures"], done.json["linked"], done.json["whole"]) == (0, 6, 6, False)
    (tmp_path / "val" / "holiday.jpg").touch()
    stranger = wrn(*arguments)
    assert (stranger.code, len(stranger.json["left_out"])) == (1, 1)


def test_errors_are_two_lines_and_exit_code_2(wrn: Wrn, tmp_path: Path) -> None:
    flat(tmp_path / "val")
    for arguments, said in {
        ("absent",): "no such file or directory: 'absent'",
        ("val",): "without labels",
        (str(val_archive(tmp_path)), "val"): "--extract DIR",
    }.items():
        done = wrn("data", "imagenet", *arguments, "-o", "val.csv")
        assert (done.code, done.out, said in done.err) == (2, "", True), done.err
        assert not Path("val.csv").exists()


def test_classes_are_named_in_chinese_when_asked(wrn: Wrn, tiny: Path, photos: Path) -> None:
    english = wrn("classify", photos, "-m", tiny, "-k", "10", "--format", "json").json
    chinese = wrn("classify", photos, "-m", tiny, "-k", "10", "--format", "json", "--lang", "zh").json
    names = {"飞机", "汽车", "鸟", "猫", "鹿", "狗", "青蛙", "马", "船", "卡车"}
    assert {p["label"] for p in chinese[0]["predictions"]} == names
    for one, other in zip(english, chinese, strict=True):
        assert [(p["index"], p["probability"]) for p in one["predictions"]] == [
            (p["index"], p["probability"]) for p in other["predictions"]
        ]
    assert "猫" in wrn("classify", photos, "-m", tiny, "-k", "10", "--lang", "zh").out


def test_labels_of_ones_own_are_an_error_in_another_language(wrn: Wrn, tmp_path: Path, photos: Path) -> None:
    bundle = tiny_bundle()
    own = replace(bundle, card=replace(bundle.card, labels_name=""), labels=Labels(tuple("abcdefghij")))
    write_bundle(tmp_path / "own", own)
    done = wrn("classify", photos, "-m", "own", "--lang", "zh")
    assert (done.code, done.out, "no names in 'zh'" in done.err) == (2, "", True)
    assert wrn("classify", photos, "-m", "own").code == 0
    assert wrn("classify", photos, "-m", "own", "--lang", "fr").code == 2


def test_a_run_in_one_language_is_not_gone_on_with_in_another(
    wrn: Wrn, tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(*_all: object, **_more: object) -> Iterator[Prediction]:
        yield Prediction(f"{photos}/a.png", ())
        raise EngineError("the engine stopped")

    arguments = ("classify", photos, "-m", tiny, "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr("wideresnet.tasks.classify.classify.classify", stopping)
        assert wrn(*arguments, "--lang", "zh").code == 2
    other = wrn(*arguments, "--resume")
    assert (other.code, "its labels is" in other.err) == (2, True), other.err
    assert wrn(*arguments, "--lang", "zh", "--resume").code == 0


def test_evaluate_counts_what_an_index_lists(wrn: Wrn, tiny: Path, photos: Path) -> None:
    """The same images as in class folders give the same counts; one that is not there is a failure."""
    Path("lists").mkdir()
    Path("lists/val.csv").write_text("path,label\n../photos/a.png,cat\n../photos/inner/b.jpg,3\n")
    done = wrn("evaluate", "lists/val.csv", "-m", tiny, "--format", "json")
    assert (done.code, done.notes, done.json["n"], done.json["data"]) == (0, "", 2, "val")
    with Path("lists/val.csv").open("a") as file:
        file.write("../photos/absent.png,dog\n")
    less = wrn("evaluate", "lists/val.csv", "-m", tiny, "--format", "json")
    assert (less.code, less.json["n"], len(less.json["failures"])) == (1, 2, 1)
    assert less.json["correct1"] == done.json["correct1"]
