"""Class folders divided: the same way each time, some of every class on either side, and written down."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import write_hub, write_tar
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.splits import Split
from wideresnet.datasets.train_val_split import open_split, to_index, validation_items
from wideresnet.errors import DataError
from wideresnet.records import Item, Labels


def tree(root: Path, **classes: int) -> Path:
    """``root`` with so many images of each class."""
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / name / f"{number:03}.png")
    return root


def counts(split: Split) -> tuple[dict[int | None, int], dict[int | None, int]]:
    return Counter(item.label for item in split.train.items), Counter(item.label for item in split.val.items)


def test_each_class_gives_its_share_but_at_least_one_and_never_all(tmp_path: Path) -> None:
    split = open_split(tree(tmp_path / "pets", cat=10, dog=2, owl=1, yak=5), 0.2, 0)
    assert (split.name, split.labels.names, split.divided) == ("pets", ("cat", "dog", "owl", "yak"), True)
    assert counts(split) == ({0: 8, 1: 1, 2: 1, 3: 4}, {0: 2, 1: 1, 3: 1})
    greedy = open_split(tmp_path / "pets", 0.95, 0)
    assert counts(greedy) == ({0: 1, 1: 1, 2: 1, 3: 1}, {0: 9, 1: 1, 3: 4})


def test_the_seed_and_the_names_decide_alone() -> None:
    items = [Item(f"root/cat/{number}", b"", 0) for number in range(50)]
    chosen = {item.path for item in validation_items(items, 0.2, 0)}
    assert len(chosen) == 10
    assert {item.path for item in validation_items(items[::-1], 0.2, 0)} == chosen
    assert {item.path for item in validation_items(items, 0.2, 1)} != chosen
    moved = [Item(item.path.replace("root", "elsewhere"), b"", 0) for item in items]
    assert {item.path.replace("elsewhere", "root") for item in validation_items(moved, 0.2, 0)} == chosen
    # An image more changes the choice by one at most.
    more = {item.path for item in validation_items([*items, Item("root/cat/new", b"", 0)], 0.2, 0)}
    assert len(more - chosen) <= 1


def shards(root: Path, classes: dict[str, list[str]]) -> Path:
    """Tar shards by name, with an image of each class that is listed."""
    for name, labels in classes.items():
        pairs = [((f"{n}.png", b""), (f"{n}.cls", label.encode())) for n, label in enumerate(labels)]
        write_tar(root / f"{name}.tar", [file for pair in pairs for file in pair])
    return root


def test_shards_are_divided_or_taken_by_their_names(tmp_path: Path) -> None:
    """The classes are the numbers in their order, not as text, and then the names that are there."""
    split = open_split(shards(tmp_path / "one", {"0": ["10"] * 5 + ["9"] * 5, "1": ["cat"] * 5}), 0.2, 0)
    assert (split.name, split.labels.names, split.divided) == ("one", ("9", "10", "cat"), True)
    assert counts(split) == ({0: 4, 1: 4, 2: 4}, {0: 1, 1: 1, 2: 1})
    for learnt, held in (("train-0", "test-0"), ("shard-0", "val-0")):
        root = shards(tmp_path / learnt, {learnt: ["10", "9", "9"], held: ["9"]})
        split = open_split(root, 0.2, 0)
        assert (split.divided, *counts(split)) == (False, {0: 2, 1: 1}, {0: 1})
    assert open_split(tmp_path / "one" / "0.tar", 0.5, 0).name == "0"


def test_numbers_with_zeros_before_them_are_names(tmp_path: Path) -> None:
    root = shards(tmp_path / "zeros", {"0": ["01"] * 5 + ["1"] * 5 + ["002"] * 5})
    split = open_split(root, 0.2, 0)
    assert split.labels.names == ("1", "002", "01")
    assert Counter(item.label for item in open_labelled(root, split.labels).items) == {0: 5, 1: 5, 2: 5}
    assert {item.label for item in open_labelled(root, Labels(("a", "b", "c"))).items} == {1, 2}


def test_shards_whose_splits_are_unclear_are_refused(tmp_path: Path) -> None:
    """As is a class that nothing was learnt of."""
    for names in (["val-0", "test-0"], ["train-0", "shard-0"]):
        with pytest.raises(DataError, match=r"holds shards of .*, .*|holds shards of , train"):
            open_split(shards(tmp_path / names[0], {name: ["1", "2"] for name in names}), 0.2, 0)
    with pytest.raises(DataError, match="has the label 3"):
        open_split(shards(tmp_path / "more", {"train-0": ["1", "2"], "val-0": ["3"]}), 0.2, 0)


def test_classes_that_a_hub_names_are_called_so(tmp_path: Path) -> None:
    """Also those that a split has no image of, in the hub's order."""
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    for split in ("train", "test"):
        rows = {"bytes": [b""] * 3, "label": [2, 0, 1]}
        write_hub(tmp_path / f"{split}-00000-of-00001.parquet", rows, ("owl", "cat", "yak"))
    split = open_split(tmp_path, 0.2, 0)
    assert split.labels.names == ("owl", "cat", "yak")
    assert [item.label for item in split.val.items] == [2, 0, 1]


def test_classes_of_two_splits_are_matched_by_their_names(tmp_path: Path) -> None:
    """An index may stand for another class in the other file; a class that nothing was learnt of is refused."""
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    names = {"train": ("owl", "cat", "yak"), "validation": ("yak", "owl", "cat")}
    for split, classes in names.items():
        write_hub(tmp_path / f"{split}-00000-of-00001.parquet", {"bytes": [b""] * 3, "label": [0, 1, 2]}, classes)
    assert [item.label for item in open_split(tmp_path, 0.2, 0).val.items] == [2, 0, 1]
    write_hub(tmp_path / "validation-00000-of-00001.parquet", {"bytes": [b""], "label": [0]}, ("emu",))
    with pytest.raises(DataError, match="has the label emu, which is none of the 3 classes"):
        open_split(tmp_path, 0.2, 0)


def test_shards_that_are_left_out_or_missing_are_told(tmp_path: Path) -> None:
    """As in folders, the split that --test measures on chooses nothing."""
    names = {"train-00000-of-00003": ["1", "2"] * 3, "val": ["1"], "test-0": ["1"], "test-1": ["2"]}
    root = shards(tmp_path / "three", names)
    missing = f"2 of 3 shards are missing beside {root / 'train-00000-of-00003.tar'}"
    assert open_split(root, 0.2, 0).skipped.notes == (
        missing, f"left out 2 shards of test, such as {root / 'test-0.tar'}",
    )  # fmt: skip
    assert open_split(root, 0.2, 0, root / "test-0.tar").skipped.notes == (missing,)
    (root / "val.tar").unlink()
    assert not open_split(root, 0.2, 0).divided
    assert open_split(root, 0.5, 0, root / "test-0.tar").divided


def test_a_split_that_is_there_is_taken(tmp_path: Path) -> None:
    tree(tmp_path / "train", cat=3, dog=2)
    tree(tmp_path / "val", cat=1)
    split = open_split(tmp_path, 0.2, 0)
    assert split.divided is False
    assert counts(split) == ({0: 3, 1: 2}, {0: 1})


def test_a_lone_train_folder_is_divided_and_a_class_may_be_called_train(tmp_path: Path) -> None:
    tree(tmp_path / "pets" / "train", cat=4, dog=4)
    assert open_split(tmp_path / "pets", 0.25, 0).labels.names == ("cat", "dog")
    tree(tmp_path / "traffic", bus=4, train=4)
    assert open_split(tmp_path / "traffic", 0.25, 0).labels.names == ("bus", "train")


def test_imagenets_ids_get_their_names(tmp_path: Path) -> None:
    split = open_split(tree(tmp_path, n01440764=2, n03126707=2), 0.2, 0)
    assert split.labels.ids == ("n01440764", "n03126707")
    assert "tench" in split.labels.names[0]


@pytest.mark.parametrize("names", [("1", "10", "2"), ("a, b", 'c "d"', "e"), ("n01440764", "n02102040", "n03126707")])
def test_the_index_gives_the_same_images_and_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    split = open_split(tree(tmp_path / "data", **dict.fromkeys(names, 3)), 0.3, 0)
    for data in (split.train, split.val):
        file = tmp_path / "run" / "some.csv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(to_index(data, split.labels))
        again = open_labelled(file, split.labels)
        assert [(item.path, item.label) for item in again.items] == [(item.path, item.label) for item in data.items]


def test_the_index_is_valid_utf8_and_names_images_of_any_name(tmp_path: Path) -> None:
    """Line breaks, a lone carriage return, bytes that are no UTF-8, and a name that looks like the escape of one."""
    tree(tmp_path, cat=1, dog=1)
    for number, name in enumerate(("caf\udce9", "\\udce9", "a\nb", "c\rd", 'q"u,o', "=1")):
        shutil.copy(tmp_path / "cat" / "000.png", tmp_path / ("cat", "dog")[number % 2] / f"{name}.png")
    split = open_split(tmp_path, 0.3, 0)
    (tmp_path / "index.csv").write_text(to_index(split.train, split.labels), "utf-8", newline="")
    again = open_labelled(tmp_path / "index.csv", split.labels)
    assert [(item.path, item.label) for item in again.items] == [(item.path, item.label) for item in split.train.items]
    assert all(Path(item.path).is_file() for item in again.items)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"cat": 3}, "holds one class only, 'cat'"),
        ({"cat": 3, "dog": 0}, "the class 'dog' of .* has no readable training image"),
        ({"cat": 1, "dog": 1}, "has one image only: the validation set is empty"),
        ({}, "holds no class folders"),
        ({"cat": 3, "tab\tbed": 3}, "can't be a label"),
        ({"cat": 3, "c\udce4t": 3}, "can't be a label"),
    ],
)
def test_what_cannot_be_learnt_from_is_an_error_in_words(tmp_path: Path, classes: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_split(tree(tmp_path, **classes), 0.2, 0)


def test_no_such_folder_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder 'absent'"):
        open_split(tmp_path / "absent", 0.2, 0)


def test_shards_of_a_test_split_alone_are_said_to_be_trained_on(tmp_path: Path) -> None:
    root = shards(tmp_path / "downloaded", {"test-0": ["1", "2"] * 5})
    assert f"{root} holds shards of the split test alone: they are trained on" in open_split(root, 0.2, 0).skipped.notes
