"""Which pictures calibrate and which judge: labelled where they can be, and never both."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle, tiny_cifar_archive, write_tar
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item
from wideresnet.tasks.gate import (
    LEAST,
    MOST,
    calibration_pool,
    gate_pictures,
    held_out,
    holds_both_sets,
    passed_over,
)

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


def keys(path: Path, count: int) -> Path:
    pairs = [((f"{n}.png", b""), (f"{n}.cls", b"%d" % n)) for n in range(count)]
    return write_tar(path, [file for pair in pairs for file in pair])


def test_shards_calibrate_and_judge_with_their_own_splits(tmp_path: Path) -> None:
    """Those to train on calibrate, those held out judge: never the same."""
    keys(tmp_path / "train-0.tar", 4)
    assert not holds_both_sets(tmp_path)
    keys(tmp_path / "val-0.tar", 3)
    assert holds_both_sets(tmp_path)
    assert [item.label for item in calibration_pool(tmp_path, LABELS)] == [0, 1, 2, 3]
    name, items = gate_pictures(tmp_path, LABELS)
    assert (name, [item.label for item in items]) == (f"{tmp_path.name} validation", [0, 1, 2])


def test_shards_without_labels_are_pictures_all_the_same(tmp_path: Path) -> None:
    """A wrong label is an error."""
    write_tar(tmp_path / "x.tar", [("a.png", b""), ("b.png", b"")])
    assert [item.label for item in calibration_pool(tmp_path / "x.tar", LABELS)] == [None, None]
    assert [item.label for item in gate_pictures(tmp_path / "x.tar", LABELS)[1]] == [None, None]
    with pytest.raises(DataError, match="has the label 10"):
        gate_pictures(keys(tmp_path / "y.tar", 11), LABELS)


def test_cifar_holds_both_sets(tmp_path: Path) -> None:
    assert holds_both_sets(tiny_cifar_archive(tmp_path / "cifar"))
    assert not holds_both_sets(filled(tmp_path / "loose", "a.png"))


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


def test_tables_judge_and_calibrate(tmp_path: Path) -> None:
    """A table was one unreadable calibration picture, and Tiny ImageNet's val was unlabelled."""
    (filled(tmp_path, "a.png", "b.png") / "t.csv").write_text("path;label\na.png;cat\nb.png;ship\n")
    assert [item.label for item in calibration_pool(tmp_path / "t.csv", LABELS)] == [3, 8]
    assert [item.label for item in gate_pictures(tmp_path / "t.csv", LABELS)[1]] == [3, 8]
    val = filled(tmp_path / "val", "images/val_0.JPEG", "images/val_1.JPEG")
    (val / "val_annotations.txt").write_text("val_0.JPEG\tship\t0\t0\t1\t1\nval_1.JPEG\tcat\t0\t0\t1\t1\n")
    assert [item.label for item in gate_pictures(val, LABELS)[1]] == [8, 3]
