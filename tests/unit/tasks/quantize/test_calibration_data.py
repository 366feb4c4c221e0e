"""Which images calibrate and which judge: labelled where they can be, and never both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle, tiny_cifar_archive, write_tar
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Item, Skipped
from wideresnet.tasks.quantize.calibration_data import (
    MAX_GATE_IMAGES,
    MIN_GATE_IMAGES,
    calibration_pool,
    gate_images,
    hold_out,
    holds_both_sets,
    notes_on_counts,
    notes_on_images,
    open_gate_images,
)

LABELS = tiny_bundle().labels


def filled(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(folder / name)
    return folder


def test_class_folders_are_labelled(tmp_path: Path) -> None:
    data = gate_images(filled(tmp_path / "val", "cat/a.png", "ship/b.png"), LABELS)
    assert (data.name, [item.label for item in data.items]) == ("val", [3, 8])


def test_folders_that_name_no_class_and_loose_images_are_unlabelled(tmp_path: Path) -> None:
    for index, names in enumerate((("a.png", "b.png"), ("holiday/a.png", "work/b.png"))):
        data = gate_images(filled(tmp_path / str(index), *names), LABELS)
        assert (data.name, [item.label for item in data.items]) == (str(index), [None, None])


def test_one_misspelt_class_folder_is_no_reason_to_forget_the_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fits none of the 10 classes"):
        gate_images(filled(tmp_path, "cat/a.png", "shipp/b.png"), LABELS)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        gate_images(tmp_path, LABELS)
    with pytest.raises(DataError, match="no such file or directory"):
        gate_images(tmp_path / "absent", LABELS)


def test_any_images_calibrate_but_some_there_must_be(tmp_path: Path) -> None:
    assert len(calibration_pool(filled(tmp_path / "loose", "a.png", "b.png"), LABELS).items) == 2
    assert [i.label for i in calibration_pool(filled(tmp_path / "classes", "cat/a.png"), LABELS).items] == [3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no calibration images in"):
        calibration_pool(tmp_path / "empty", LABELS)
    with pytest.raises(ConfigError, match="int8 needs calibration images"):
        calibration_pool(None, LABELS)


def keys(path: Path, count: int) -> Path:
    pairs = [((f"{n}.png", b""), (f"{n}.cls", b"%d" % n)) for n in range(count)]
    return write_tar(path, [file for pair in pairs for file in pair])


def test_shards_calibrate_and_judge_with_their_own_splits(tmp_path: Path) -> None:
    """Those to train on calibrate, those held out judge: never the same."""
    keys(tmp_path / "train-0.tar", 4)
    assert not holds_both_sets(tmp_path, LABELS)
    keys(tmp_path / "val-0.tar", 3)
    assert holds_both_sets(tmp_path, LABELS)
    assert [item.label for item in calibration_pool(tmp_path, LABELS).items] == [0, 1, 2, 3]
    data = gate_images(tmp_path, LABELS)
    assert (data.name, [item.label for item in data.items]) == (f"{tmp_path.name} validation", [0, 1, 2])


def test_shards_without_labels_are_images_all_the_same(tmp_path: Path) -> None:
    """A wrong label is an error."""
    write_tar(tmp_path / "x.tar", [("a.png", b""), ("b.png", b"")])
    assert [item.label for item in calibration_pool(tmp_path / "x.tar", LABELS).items] == [None, None]
    assert [item.label for item in gate_images(tmp_path / "x.tar", LABELS).items] == [None, None]
    with pytest.raises(DataError, match="has the label 10"):
        gate_images(keys(tmp_path / "y.tar", 11), LABELS)


def test_what_shards_hold_besides_their_images_is_counted(tmp_path: Path) -> None:
    """Without classes all other files count."""
    files = [("1.png", b""), ("1.cls", b"0"), ("1.heix", b"")]
    archive = write_tar(tmp_path / "x.tar", files)
    for opened in (calibration_pool(archive, LABELS), gate_images(archive, LABELS)):
        assert opened.skipped == Skipped({".heix": 1})
    bare = write_tar(tmp_path / "y.tar", [("1.png", b""), ("1.txt", b"")])
    assert calibration_pool(bare, LABELS).skipped == Skipped({".txt": 1})


def test_cifar_holds_both_sets(tmp_path: Path) -> None:
    assert holds_both_sets(tiny_cifar_archive(tmp_path / "cifar"), LABELS)
    assert not holds_both_sets(filled(tmp_path / "loose", "a.png"), LABELS)


def test_of_splits_the_training_one_calibrates_and_the_other_judges(tmp_path: Path) -> None:
    """Also where the class folders are none of the network's; what was taken is said."""
    for name, known in (("pets", ("cat", "dog")), ("albums", ("home", "work"))):
        root = filled(tmp_path / name, *(f"{split}/{each}/a.png" for split in ("Train", "valid") for each in known))
        (root / "Train" / known[0] / "b.dng").touch()
        pool, gate = calibration_pool(root, LABELS), gate_images(root, LABELS)
        assert {Path(item.path).parts[-3] for item in pool.items} == {"Train"}
        assert (gate.name, {Path(item.path).parts[-3] for item in gate.items}) == ("valid", {"valid"})
        assert pool.skipped == Skipped({".dng": 1}, notes=(f"took {root}/Train, left out {root}/valid/",))
        assert gate.skipped == Skipped(notes=(f"took {root}/valid, left out {root}/Train/",))


def test_what_was_assumed_of_the_images_is_noted_with_the_gate(tmp_path: Path) -> None:
    filled(tmp_path, "a.png")
    (tmp_path / "index.csv").write_text("path,label\na.png,cat\na.png,cat\n")
    assert open_gate_images(tmp_path / "index.csv", tiny_bundle()).notes == (
        f"1 rows of {tmp_path / 'index.csv'} repeat an image",
    )


def test_folders_of_splits_hold_both_sets(tmp_path: Path) -> None:
    """As shards do: a training split, and one to judge by."""
    root = filled(tmp_path / "pets", "train/cat/a.png", "train/dog/a.png")
    assert not holds_both_sets(root, LABELS)
    assert holds_both_sets(filled(root, "val/cat/a.png"), LABELS)
    assert not holds_both_sets(tmp_path / "absent", LABELS)


def test_unclear_splits_do_not_calibrate(tmp_path: Path) -> None:
    root = filled(tmp_path, *(f"{split}/cat/a.png" for split in ("train", "train_data", "val")))
    for find in (calibration_pool, holds_both_sets):
        with pytest.raises(DataError, match="all name its train split") as caught:
            find(root, LABELS)
        assert "move the others away" in caught.value.hint


def test_what_is_left_of_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.dng").touch()
    for find in (calibration_pool, gate_images):
        with pytest.raises((ConfigError, DataError)) as caught:
            find(tmp_path, LABELS)
        assert "1 .dng" in caught.value.hint


def test_held_out_are_what_calibration_can_spare() -> None:
    pool = [Item(str(k), b"") for k in range(300 + MAX_GATE_IMAGES + 50)]
    assert len(hold_out(pool, 300)) == MAX_GATE_IMAGES
    assert len(hold_out(pool[: 300 + MIN_GATE_IMAGES], 300)) == MIN_GATE_IMAGES


@pytest.mark.parametrize(
    ("pool", "samples", "judging"),
    [(200, 300, 66), (399, 300, 133), (300, 300, 100), (24, 12, 12), (3, 300, 1), (4, 3, 1)],
)
def test_calibration_and_gate_share_what_is_too_little_for_both(pool: int, samples: int, judging: int) -> None:
    """A third of the images judges, or all that calibration can spare where that is more."""
    assert len(hold_out([Item(str(k), b"") for k in range(pool)], samples)) == judging


def test_shared_images_are_apart_always_the_same_and_calibrate_each_class_alike() -> None:
    """What judges calibrates nothing; a small class is not used up by the gate."""
    pool = [Item(f"{label}-{k}", b"", label) for label, count in enumerate((60, 60, 3)) for k in range(count)]
    held = hold_out(pool, 300)
    assert held == hold_out(pool, 300)
    assert len(held) == 41
    rest = Counter(item.label for item in pool if item not in held)
    assert (abs(rest[0] - rest[1]) <= 1, rest[2]) == (True, 3)


@pytest.mark.parametrize("pool", [0, 1, 2])
def test_too_few_to_share_is_an_error_that_says_how_many_are_needed(pool: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot share {pool} images, 3 are the fewest"):
        hold_out([Item(str(k), b"") for k in range(pool)], 300)


def test_notes_say_what_is_not_as_asked() -> None:
    assert list(notes_on_counts(300, 134, 200, 66)) == [
        "200 images are too few for calibration with 300 and a gate with 100:"
        " 134 calibrate, 66 are for the gate (two thirds, one third)"
    ]
    assert list(notes_on_counts(12, 12, 24, 12)) == [
        "24 images are too few for calibration with 12 and a gate with 100: 12 calibrate, 12 are for the gate"
    ]
    assert list(notes_on_counts(300, 200, 200, 0)) == ["300 calibration images were requested, 200 could be used"]
    assert list(notes_on_counts(300, 300, 1000, 700)) == []
    cats = [Item(str(k), bytes([k]), 3) for k in range(3)]
    assert list(notes_on_images(cats, [])) == [
        "all calibration images are of one class: ranges of activations are measured on that one"
    ]
    assert list(notes_on_images([Item("a", b"a"), Item("b", b"b")], [Item("c", b"b"), Item("d", b"d")])) == [
        "1 images are in both calibration and gate, so that the gate is optimistic"
    ]


def test_tables_judge_and_calibrate(tmp_path: Path) -> None:
    """A table was one unreadable calibration image, and Tiny ImageNet's val was unlabelled."""
    (filled(tmp_path, "a.png", "b.png") / "t.csv").write_text("path;label\na.png;cat\nb.png;ship\n")
    assert [item.label for item in calibration_pool(tmp_path / "t.csv", LABELS).items] == [3, 8]
    assert [item.label for item in gate_images(tmp_path / "t.csv", LABELS).items] == [3, 8]
    val = filled(tmp_path / "val", "images/val_0.JPEG", "images/val_1.JPEG")
    (val / "val_annotations.txt").write_text("val_0.JPEG\tship\t0\t0\t1\t1\nval_1.JPEG\tcat\t0\t0\t1\t1\n")
    assert [item.label for item in gate_images(val, LABELS).items] == [8, 3]
