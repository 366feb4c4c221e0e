"""Which pictures calibrate and which judge: labelled where they can be, and never both."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item
from wideresnet.tasks.gate import LEAST, MOST, calibration_pool, gate_pictures, held_out

LABELS = tiny_bundle().labels


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_class_folders_are_labelled(tmp_path: Path) -> None:
    name, items = gate_pictures(filled(tmp_path / "val", "cat/a.png", "ship/b.png"), LABELS)
    assert (name, [item.label for item in items]) == ("val", [3, 8])


def test_folders_that_name_no_class_and_loose_pictures_are_unlabelled(tmp_path: Path) -> None:
    for index, names in enumerate((("a.png", "b.png"), ("holiday/a.png", "work/b.png"))):
        name, items = gate_pictures(filled(tmp_path / str(index), *names), LABELS)
        assert (name, [item.label for item in items]) == (str(index), [None, None])


def test_one_misspelt_class_folder_is_no_reason_to_forget_the_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fits none of the 10 classes"):
        gate_pictures(filled(tmp_path, "cat/a.png", "shipp/b.png"), LABELS)


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures"):
        gate_pictures(tmp_path, LABELS)
    with pytest.raises(DataError, match="no file or folder"):
        gate_pictures(tmp_path / "absent", LABELS)


def test_any_pictures_calibrate_but_some_there_must_be(tmp_path: Path) -> None:
    assert len(calibration_pool(filled(tmp_path / "loose", "a.png", "b.png"), LABELS)) == 2
    assert [i.label for i in calibration_pool(filled(tmp_path / "classes", "cat/a.png"), LABELS)] == [3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no calibration pictures in"):
        calibration_pool(tmp_path / "empty", LABELS)
    with pytest.raises(ConfigError, match="int8 needs calibration pictures"):
        calibration_pool(None, LABELS)


def test_held_out_are_what_calibration_can_spare() -> None:
    pool = [Item(str(k), b"") for k in range(300 + MOST + 50)]
    assert len(held_out(pool, 300)) == MOST
    assert len(held_out(pool[: 300 + LEAST], 300)) == LEAST
    with pytest.raises(ConfigError, match="of 399 for calibration, 300 are asked for"):
        held_out(pool[:399], 300)


def test_tables_judge_and_calibrate(tmp_path: Path) -> None:
    """A table was one unreadable calibration picture, and Tiny ImageNet's val was unlabelled."""
    (filled(tmp_path, "a.png", "b.png") / "t.csv").write_text("path;label\na.png;cat\nb.png;ship\n")
    assert [item.label for item in calibration_pool(tmp_path / "t.csv", LABELS)] == [3, 8]
    assert [item.label for item in gate_pictures(tmp_path / "t.csv", LABELS)[1]] == [3, 8]
    val = filled(tmp_path / "val", "images/val_0.JPEG", "images/val_1.JPEG")
    (val / "val_annotations.txt").write_text("val_0.JPEG\tship\t0\t0\t1\t1\nval_1.JPEG\tcat\t0\t0\t1\t1\n")
    assert [item.label for item in gate_pictures(val, LABELS)[1]] == [8, 3]
