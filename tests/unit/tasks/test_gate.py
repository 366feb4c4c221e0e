"""Which pictures calibrate and which judge: labelled where they can be, and never both."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item
from wideresnet.tasks.gate import LEAST, MOST, calibration_pool, gate_pictures, held_out, passed_over

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


def test_of_splits_the_training_one_calibrates_and_the_other_judges(tmp_path: Path) -> None:
    """Also where the class folders are none of the network's; what was taken is said."""
    for name, known in (("pets", ("cat", "dog")), ("albums", ("home", "work"))):
        root = filled(tmp_path / name, *(f"{split}/{each}/a.png" for split in ("Train", "valid") for each in known))
        (root / "Train" / known[0] / "b.dng").touch()
        assert {Path(item.path).parts[-3] for item in calibration_pool(root, LABELS)} == {"Train"}
        data, items = gate_pictures(root, LABELS)
        assert (data, {Path(item.path).parts[-3] for item in items}) == ("valid", {"valid"})
        skipped = passed_over(root, root, LABELS)
        assert skipped.by_ending == {".dng": 1}
        assert skipped.notes == (
            f"took {root}/Train, left out {root}/valid/", f"took {root}/valid, left out {root}/Train/",
        )  # fmt: skip
    assert passed_over(None, tmp_path / "absent", LABELS).notes == ()


def test_what_is_left_of_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.dng").touch()
    for find in (calibration_pool, gate_pictures):
        with pytest.raises((ConfigError, DataError)) as caught:
            find(tmp_path, LABELS)
        assert "1 .dng" in caught.value.hint


def test_held_out_are_what_calibration_can_spare() -> None:
    pool = [Item(str(k), b"") for k in range(300 + MOST + 50)]
    assert len(held_out(pool, 300)) == MOST
    assert len(held_out(pool[: 300 + LEAST], 300)) == LEAST
    with pytest.raises(ConfigError, match="of 399 for calibration, 300 are asked for"):
        held_out(pool[:399], 300)
