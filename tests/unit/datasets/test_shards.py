"""Data sets in shards: which files they are, of which split, and what their classes mean to a network."""

from __future__ import annotations

import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fakes import grey_png, write_hub, write_tar
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.shards import ShardImages, UnlabelledError, find_shards, labelled_shards
from wideresnet.errors import DataError, ImageError
from wideresnet.records import EncodedImage, Labels

pytest.importorskip("pyarrow", reason="needs the extra parquet")

CIFAR, IMAGENET = read_labels("cifar10"), read_labels("imagenet")
PAIR = Labels(("cat", "dog"))


def hub(path: Path, labels: list[Any], names: tuple[str, ...] = ()) -> Path:
    rows = [{"bytes": grey_png(number % 10), "path": f"{number}.png"} for number in range(len(labels))]
    return write_hub(path, {"image": rows, "label": labels}, names)


def keys(path: Path, classes: list[str], first: int = 0) -> Path:
    pairs = [((f"{n}.png", b""), (f"{n}.cls", name.encode())) for n, name in enumerate(classes, start=first)]
    return write_tar(path, [file for pair in pairs for file in pair])


def labelled(path: Path, labels: Labels) -> LabelledData:
    return labelled_shards(find_shards(path), labels)


def labels_of(path: Path, labels: Labels) -> list[int | None]:
    return [item.label for item in labelled(path, labels).items]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00014.parquet", "train"), ("data/validation-00000-of-00001.parquet", "validation"),
        ("default/test/0000.parquet", "test"), ("imagenet1k-val-07.tar", "validation"), ("VAL_0.tar", "validation"),
        ("dev/0.tar", "validation"), ("training/0.tar", "train"), ("val07.tar", "validation"),
        ("shard-000000.tar", ""), ("trainer-0.tar", ""), ("invalid.tar", ""), ("contest.tar", ""),
    ],
)  # fmt: skip
def test_names_say_the_split(name: str, split: str, tmp_path: Path) -> None:
    """A word of the file's or a folder's name, in any case."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert find_shards(tmp_path).splits == {split: [tmp_path / name]}
    assert find_shards(tmp_path / name).splits == {"": [tmp_path / name]}


def test_what_is_no_shard_is_none(tmp_path: Path) -> None:
    """A folder with images is a folder of images; hidden files do not count; content says more than a name."""
    assert not find_shards(tmp_path / "missing")
    assert not find_shards(tmp_path)
    keys(tmp_path / ".cache" / "x.tar", ["1"])
    (tmp_path / "x.png").write_bytes(grey_png(0))
    assert not find_shards(tmp_path)
    keys(tmp_path / "y.tar", ["1"])
    assert not find_shards(tmp_path)
    (tmp_path / "x.png").unlink()
    assert find_shards(tmp_path).splits == {"": [tmp_path / "y.tar"]}
    (tmp_path / "y.tar").rename(tmp_path / "no-ending")
    assert find_shards(tmp_path / "no-ending").splits == {"": [tmp_path / "no-ending"]}


def test_all_images_of_all_shards_are_given_in_order(tmp_path: Path) -> None:
    """With paths that no other has; of a shard that breaks, what was there and then one failure."""
    keys(tmp_path / "b.tar", ["1", "1"])
    data = keys(tmp_path / "a.tar", ["1", "1"]).read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1600])
    hub(tmp_path / "c.parquet", [0])
    hub(tmp_path / "d.parquet", [0])
    (tmp_path / "e.parquet").write_text("none")
    write_tar(tmp_path / "f.tar", [("inner.tar", b"")])
    items = list(ShardImages(find_shards(tmp_path)))
    expected = ["a.tar/0.png", "a.tar", "b.tar/0.png", "b.tar/1.png", "c.parquet/0.png", "d.parquet/0.png", "e.parquet"]
    assert [item.path for item in items] == [str(tmp_path / name) for name in (*expected, "f.tar")]
    for index, message in ((1, "no complete tar archive"), (6, "not a Parquet file"), (7, "holds no images")):
        source = items[index].source
        assert isinstance(source, EncodedImage)
        with pytest.raises(ImageError, match=message):
            source.read(9)


def test_a_set_of_shards_is_evaluated(tmp_path: Path) -> None:
    """One file, or a folder of them; the data's name and hash are those of the set."""
    keys(tmp_path / "set" / "0.tar", ["1", "0"])
    keys(tmp_path / "set" / "1.tar", ["dog"], first=2)
    data = open_labelled(tmp_path / "set", PAIR)
    assert (data.name, data.classes, data.notes) == ("set", 2, ())
    assert [item.label for item in data.items] == [1, 0, 1]
    assert [Path(item.path).relative_to(tmp_path).as_posix() for item in data.items] == [
        "set/0.tar/0.png", "set/0.tar/1.png", "set/1.tar/2.png",
    ]  # fmt: skip
    assert data.sha256 == open_labelled(tmp_path / "set", PAIR).sha256
    assert open_labelled(tmp_path / "set" / "1.tar", PAIR).name == "1"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["train-0", "validation-0", "test-0"], "validation"),
        (["train-0", "test-0"], "test"),
        (["train-0"], "train"),
        (["shard-0", "val-0"], "validation"),
    ],
)
def test_the_held_out_split_is_evaluated_and_said(names: list[str], chosen: str, tmp_path: Path) -> None:
    """So is a folder that holds the training split alone."""
    for name in names:
        hub(tmp_path / f"{name}.parquet", [0])
    data = labelled(tmp_path, PAIR)
    assert data.name == f"{tmp_path.name} {chosen}"
    assert len(data.items) == 1
    assert data.skipped.notes[0].endswith(f": {chosen} is read")


def test_an_unclear_split_is_refused(tmp_path: Path) -> None:
    for name in ("train-0", "shard-0"):
        hub(tmp_path / f"{name}.parquet", [0])
    with pytest.raises(DataError, match="several splits, no name, train"):
        labelled(tmp_path, PAIR)


def test_numbers_are_indices_and_text_is_a_name_or_an_id(tmp_path: Path) -> None:
    """Where all classes are called by numbers, as after fine-tuning on such shards, a number is a name."""
    assert labels_of(hub(tmp_path / "i.parquet", [0, 1]), PAIR) == [0, 1]
    assert labels_of(keys(tmp_path / "i.tar", ["0", "1"]), PAIR) == [0, 1]
    for classes, found in (([1, 5], [0, 1]), ([5], [1])):
        assert labels_of(hub(tmp_path / "n.parquet", classes), Labels(("1", "5"))) == found
        assert labels_of(keys(tmp_path / "n.tar", list(map(str, classes))), Labels(("1", "5"))) == found
    with pytest.raises(DataError, match="has the label 0, which is none of the 2 classes"):
        labelled(hub(tmp_path / "n.parquet", [0, 1]), Labels(("1", "5")))
    assert labels_of(hub(tmp_path / "c.parquet", [0, 1], ("5", "1")), Labels(("1", "5"))) == [1, 0]
    assert labels_of(hub(tmp_path / "t.parquet", ["0", "1"]), Labels(("1", "0"))) == [1, 0]
    assert labels_of(keys(tmp_path / "x.tar", ["n01443537"]), IMAGENET) == [1]


@pytest.mark.parametrize("label", ["2", "-2", "bird", "1.5"])
def test_a_class_that_is_none_is_refused(label: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has the label {label}, which is none of the 2 classes"):
        labelled(keys(tmp_path / "x.tar", ["0", label]), PAIR)


def test_images_without_classes_say_what_is_missing(tmp_path: Path) -> None:
    """And what to type: for ImageNet's archive the command that reads it."""
    for path, message, hint in (
        (write_tar(tmp_path / "1.tar", [("a.png", b"")]), "1.tar have no classes", "key.jpg and key.cls"),
        (write_tar(tmp_path / "2.tar", [("ILSVRC2012_val_00000001.JPEG", b"")]), "no classes", "wrn data imagenet"),
        (write_tar(tmp_path / "3.tar", [("v/a/1.png", b""), ("t/a/1.png", b"")]), "no classes", "in t, v: unpack it"),
        (write_tar(tmp_path / "4.tar", [("x.txt", b"")]), "holds no images", "unpack it"),
        (hub(tmp_path / "5.parquet", [-1, -1]), "has -1 for every label", "test sets"),
    ):
        with pytest.raises(UnlabelledError, match=message) as caught:
            labelled(path, PAIR)
        assert hint in caught.value.hint


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 images in .* have names that others have"):
        labelled(write_tar(tmp_path / "x.tar", [("1.png", b""), ("1.png", b""), ("1.cls", b"0")]), PAIR)


def test_shards_of_other_classes_are_not_one_set(tmp_path: Path) -> None:
    hub(tmp_path / "0.parquet", [0], ("cat", "dog"))
    hub(tmp_path / "1.parquet", [0], ("dog", "cat"))
    with pytest.raises(DataError, match=r"1\.parquet lists other classes than .*0\.parquet"):
        labelled(tmp_path, PAIR)


def test_named_classes_are_those_of_the_network_in_any_order(tmp_path: Path) -> None:
    """Names that are not spelt as the network's must be in its order: the first difference is named.

    Case, underscores and further words for a class are none.
    """
    spelt = tuple(name.replace("_", " ").title() for name in CIFAR.names)
    assert len(labelled(hub(tmp_path / "same.parquet", [3], spelt), CIFAR).items) == 1
    swapped = tuple({"cat": "dog", "dog": "cat"}.get(name, name) for name in CIFAR.names)
    assert labels_of(hub(tmp_path / "swapped.parquet", [3, 5, 0], swapped), CIFAR) == [5, 3, 0]
    with pytest.raises(DataError, match=r"another order: 3 is 'Dog', in the network 'cat'"):
        labelled(hub(tmp_path / "spelt.parquet", [3], tuple(map(str.title, swapped))), CIFAR)
    hundred = Labels(tuple(f"kind {index:02}" for index in range(100)))
    words = {"kind 01": "sort 1", "kind 07": "kind 09"}       # one other word for a class, and another class
    two = tuple(words.get(name, name) for name in hundred.names)
    with pytest.raises(DataError, match=r"another order: 7 is 'kind 09', in the network 'kind 07'"):
        labelled(hub(tmp_path / "two.parquet", [3], two), hundred)
    synonyms = Labels(tuple(f"kind {index:02}, sort {index:02}" for index in range(100)))
    with pytest.raises(DataError, match=r"another order: 7 is 'kind 09', in the network 'kind 07, sort 07'"):
        labelled(tmp_path / "two.parquet", synonyms)
    short = tuple(name.split(",")[0] for name in IMAGENET.names)
    assert labelled(hub(tmp_path / "short.parquet", [517], short), IMAGENET).items[0].label == 517
    assert labelled(hub(tmp_path / "ids.parquet", [517], IMAGENET.ids), IMAGENET).items[0].label == 517
    with pytest.raises(DataError, match="another order: 0 is 'aardvark'"):
        labelled(hub(tmp_path / "sorted.parquet", [517], ("aardvark", *sorted(short)[1:])), IMAGENET)
    unnamed = Labels(tuple(f"class {index}" for index in range(10)))
    assert len(labelled(tmp_path / "same.parquet", unnamed).items) == 1


def test_whole_numbers_of_any_type_are_indices(tmp_path: Path) -> None:
    for numbers in ([3.0, 5.0], [Decimal(3), Decimal(5)]):
        assert labels_of(hub(tmp_path / "x.parquet", numbers), CIFAR) == [3, 5]
    for other, name in ((1.5, "float"), (date(2026, 1, 1), "date"), (True, "bool"), (b"cat", "bytes")):
        with pytest.raises(DataError, match=f"has the label .* of the type {name}"):
            labelled(hub(tmp_path / "y.parquet", [other]), CIFAR)


def test_a_subset_of_the_classes_is_found_by_its_names(tmp_path: Path) -> None:
    """As Imagenette's ten: its numbers are not the network's."""
    names = ("n03888257", "n01440764")
    data = labelled(hub(tmp_path / "x.parquet", [0, 1, 1], names), IMAGENET)
    assert [item.label for item in data.items] == [701, 0, 0]
    with pytest.raises(DataError, match="has 2 classes, the network 1000"):
        labelled(hub(tmp_path / "y.parquet", [0], ("n03888257", "something else")), IMAGENET)
    with pytest.raises(DataError, match="has the label"):
        labelled(hub(tmp_path / "z.parquet", [2], names), IMAGENET)


def test_shards_that_are_missing_or_twice_are_said(tmp_path: Path) -> None:
    """An interrupted download looked like the complete set."""
    hub(tmp_path / "validation-00000-of-00002.parquet", [0, 1])
    (note,) = labelled(tmp_path, CIFAR).skipped.notes
    assert note.startswith("1 of 2 shards are missing beside ")
    shutil.copy(tmp_path / "validation-00000-of-00002.parquet", tmp_path / "validation-00000-of-00002 (1).parquet")
    notes = labelled(tmp_path, CIFAR).skipped.notes
    assert "2 files hold 1 shards: some exist twice" in notes[-1]
