"""Images to train on: both parts decoded once, every unreadable one listed, the classes named."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wideresnet.datasets import decoded_cache as decoded
from wideresnet.datasets.splits import FolderArrays, class_labels, read_splits
from wideresnet.errors import DataError
from wideresnet.images.loader import load_crop
from wideresnet.records import Labels, Preprocess, Progress, follow

TRAIN, VAL = Preprocess(resize=24, crop=24), Preprocess(resize=20, crop=16)


def tree(root: Path, *names: str) -> Path:
    """Images of noise, larger than either preprocess keeps and not square."""
    rng = np.random.default_rng(0)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return root


def read(root: Path) -> FolderArrays:
    return follow(read_splits(root, TRAIN, VAL, threads=2))


def test_both_parts_are_decoded_by_the_one_preprocess_in_sorted_order(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", "train/dog/b.png", "train/dog/a.png", "train/cat/x.png", "val/dog/y.png")
    arrays = read(root)
    assert (arrays.name, arrays.labels, arrays.failures) == ("pets", Labels(("cat", "dog")), ())
    assert (arrays.train_labels.tolist(), arrays.val_labels.tolist()) == ([0, 1, 1], [1])
    assert (arrays.train_labels.dtype, arrays.val_labels.dtype) == (np.int64, np.int64)
    expected = [load_crop(root / "train" / name, TRAIN) for name in ("cat/x.png", "dog/a.png", "dog/b.png")]
    assert np.array_equal(arrays.train_images, np.stack(expected))
    assert np.array_equal(arrays.val_images, load_crop(root / "val/dog/y.png", VAL)[None])


def test_photographs_that_are_not_turned_upright_are_counted(tmp_path: Path) -> None:
    root, exif = tree(tmp_path, "train/cat/a.png", "val/cat/a.png"), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 8)).save(root / "train/cat/b.jpg", exif=exif)
    (note,) = (note for note in read(root).skipped.notes if "upright" in note)
    assert note.startswith("1 of 2 images that were looked at are not stored upright: their EXIF orientation is ign")


def test_what_cannot_be_read_is_listed_and_nothing_stands_in_for_it(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"train/cat/{k}.png" for k in range(70)), "val/cat/a.png")
    broken = [root / "train/cat/3.png", root / "train/cat/66.png", root / "val/cat/b.png"]
    for path in broken:
        path.write_bytes(b"no image")
    arrays = read(root)
    assert [failure.path for failure in arrays.failures] == [str(path) for path in broken]
    assert (arrays.train_images.shape, arrays.val_images.shape) == ((68, 24, 24, 3), (1, 16, 16, 3))
    names = sorted(path.name for path in (root / "train/cat").iterdir() if path not in broken)
    assert np.array_equal(arrays.train_images[-1], load_crop(root / "train/cat" / names[-1], TRAIN))


def test_imagenets_ids_get_their_names_and_others_keep_theirs() -> None:
    labels = class_labels(["n01440764", "n02012849", "n03126707"])
    assert labels.ids == ("n01440764", "n02012849", "n03126707")
    assert labels.names[0].startswith("tench")
    assert "crane" in labels.names[1]
    assert "crane" in labels.names[2]
    assert class_labels(["n01440764", "my cat"]) == Labels(("n01440764", "my cat"))


def test_folders_called_by_numbers_are_the_classes_of_their_names(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/10/a.png", "train/2/a.png", "train/1/a.png", "val/2/a.png")
    arrays = read(root)
    assert arrays.labels.names == ("1", "10", "2")
    assert arrays.val_labels.tolist() == [2]


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    missing = "val" if part == "train" else "train"
    with pytest.raises(DataError, match=f"has no folder '{part}'") as caught:
        read(tree(tmp_path, f"{missing}/cat/a.png"))
    assert "train/CLASS/image.jpg" in caught.value.hint


def test_no_such_folder_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder 'absent'"):
        read(tmp_path / "absent")
    (tmp_path / "train.csv").touch()
    with pytest.raises(DataError, match=r"train\.csv is a file, not a folder of classes"):
        read(tmp_path / "train.csv")


@pytest.mark.parametrize("name", ["cow", "0"])
def test_a_class_that_is_only_tested_is_an_error(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path, "train/cat/a.png", "train/dog/a.png", f"val/{name}/a.png")
    with pytest.raises(DataError, match=f"val/{name} is of no class in"):
        read(root)


def test_a_class_without_an_image_to_learn_from_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/cat/a.png", "train/dog/a.png", "val/cat/a.png")
    (root / "train/dog/a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"the class 'dog' of .* has no readable training image"):
        read(root)


def test_a_part_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path, "train/cat/a.png", "val/cat/a.png")
    (root / "val/cat/a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 1 images of val can be read") as caught:
        read(root)
    assert "not an image" in caught.value.hint


def test_more_than_the_memory_holds_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path, *(f"train/cat/{k}.png" for k in range(4)), "val/cat/a.png")
    monkeypatch.setattr(decoded, "memory_mb", lambda: 10)
    with pytest.raises(DataError, match=r"4 images of 1000 pixels take 11 MB, this machine has 10") as caught:
        follow(read_splits(root, Preprocess(resize=1000, crop=1000), VAL, threads=1))
    assert "--cache" in caught.value.hint


def test_reading_tells_how_far_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path, *(f"train/cat/{k:02}.png" for k in range(70)), "val/cat/a.png", "val/cat/b.png")
    (root / "train/cat/03.png").write_bytes(b"no image")
    told = [Progress("reading train", 64, 70), Progress("reading train", 70, 70), Progress("reading val", 2, 2)]
    assert list(read_splits(root, TRAIN, VAL, threads=2)) == told
    assert list(read_splits(root, TRAIN, VAL, threads=2, cache=tmp_path / "cache")) == told
    assert list(read_splits(root, TRAIN, VAL, threads=2, cache=tmp_path / "cache")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
@pytest.mark.parametrize("cache", [None, "cache"])
def test_a_pipe_is_a_failure_and_what_is_passed_over_is_kept(tmp_path: Path, cache: str | None) -> None:
    root = tree(tmp_path / "pets", "Train/cat/b.png", "Train/dog/x.png", "Valid/dog/y.png", "Valid/cat/z.png")
    tree(root, "test/cat/a.png")
    (root / "Train/cat/a.dng").touch()
    os.mkfifo(root / "Train/cat/a.png")            # the first: its bytes would be in the hash of the cache
    cached = follow(read_splits(root, TRAIN, VAL, threads=1, cache=tmp_path / cache if cache else None))
    assert [failure.error for failure in cached.failures] == ["not a regular file: a named pipe"]
    assert (len(cached.train_labels), cached.skipped.by_ending) == (2, {".dng": 1})
    assert cached.skipped.notes == (f"left out {root}/test: 'wrn evaluate {root}/test' measures a model on it",)


def test_on_a_disk_it_is_the_same(tmp_path: Path) -> None:
    root = tree(tmp_path / "pets", "train/dog/b.png", "train/cat/x.png", "val/dog/y.png", "val/cat/z.png")
    (root / "val/cat/z.png").write_bytes(b"no image")
    in_memory, cached = read(root), follow(read_splits(root, TRAIN, VAL, threads=2, cache=tmp_path / "cache"))
    assert (cached.name, cached.labels, cached.failures) == (in_memory.name, in_memory.labels, in_memory.failures)
    for part in ("train_images", "train_labels", "val_images", "val_labels"):
        assert np.array_equal(getattr(cached, part), getattr(in_memory, part))
    assert sorted(folder.name.rpartition("-")[0] for folder in (tmp_path / "cache").iterdir()) == [
        "pets-train-24", "pets-val-16",
    ]  # fmt: skip


def test_a_disk_too_small_for_both_parts_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, large = tree(tmp_path, "train/cat/a.png", "val/cat/a.png"), Preprocess(resize=1000, crop=1000)
    free = 4 * 10**6                               # for one of both
    monkeypatch.setattr(decoded.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(DataError, match=r"2 images take 5 MB more in .*cache, 3 are free there") as caught:
        follow(read_splits(root, large, large, threads=1, cache=tmp_path / "cache"))
    assert "another disk" in caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_accents_are_composed_in_class_names_and_the_same_in_both_parts(tmp_path: Path) -> None:
    """A training part from macOS, a validation part from Linux."""
    decomposed = unicodedata.normalize("NFD", "é")
    root = tree(tmp_path, f"train/{decomposed}/a.png", "train/f/a.png", "val/é/b.png", "val/f/b.png")
    arrays = read(root)
    assert arrays.labels == Labels(("f", "é"))
    assert arrays.val_labels.tolist() == [0, 1]


def test_two_class_folders_that_differ_in_accents_alone_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path, f"train/{unicodedata.normalize('NFD', 'é')}/a.png", "train/é/a.png", "val/é/b.png")
    with pytest.raises(DataError, match="two class folders are called 'é'"):
        read(root)
