"""Tiny ImageNet and Kaggle's ImageNet are evaluated as they are unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.datasets.annotated import find_annotated
from wideresnet.datasets.open import open_labelled
from wideresnet.errors import DataError
from wideresnet.records import Labels

IDS = ("n01443537", "n01629819", "n01641577")
NAMES = ("goldfish, Carassius auratus", "European fire salamander, Salamandra salamandra", "bullfrog, Rana catesbeiana")
BY_ID, BY_NAME = Labels(("a", "b", "c"), IDS), Labels(NAMES)


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    root = tmp_path / "tiny-imagenet-200"
    touch(*(root / "val" / "images" / f"val_{k}.JPEG" for k in range(6)), root / "test" / "images" / "test_0.JPEG")
    rows = "".join(f"val_{k}.JPEG\t{IDS[k % 3]}\t0\t32\t44\t62\n" for k in range(6))
    (root / "val" / "val_annotations.txt").write_text(rows)
    for id_ in IDS:
        touch(root / "train" / id_ / "images" / f"{id_}_0.JPEG")
    (root / "words.txt").write_text("".join(f"{id_}\t{name}\n" for id_, name in zip(IDS, NAMES, strict=True)))
    return root


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    root = tmp_path / "imagenet"
    images = root / "ILSVRC" / "Data" / "CLS-LOC"
    touch(*(images / "val" / f"ILSVRC2012_val_0000000{k}.JPEG" for k in range(1, 7)))
    touch(images / "test" / "ILSVRC2012_test_00000001.JPEG", images / "train" / IDS[0] / "x_1.JPEG")
    rows = (f"ILSVRC2012_val_0000000{k},{IDS[(k - 1) % 3]} 1 2 3 4\n" for k in range(1, 7))
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
    return root


@pytest.mark.parametrize("labels", [BY_ID, BY_NAME])
@pytest.mark.parametrize("part", ["", "val", "val/images", "val/val_annotations.txt"])
def test_tiny_imagenets_val_from_wherever_one_stands(tiny: Path, part: str, labels: Labels) -> None:
    """By ids, or by names through its words.txt; never as one class folder called images."""
    data = open_labelled(tiny / part, labels)
    assert [item.label for item in data.items] == [0, 1, 2, 0, 1, 2]
    assert "val_annotations.txt" in data.notes[0]


@pytest.mark.parametrize("part", ["val", "val/images"])
def test_tiny_imagenets_table_as_ground_truth(tiny: Path, part: str) -> None:
    data = open_labelled(tiny / part, BY_ID, ground_truth=tiny / "val" / "val_annotations.txt")
    assert [item.label for item in data.items] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("labels", [BY_ID, BY_NAME])
def test_tiny_imagenets_train_are_class_folders(tiny: Path, labels: Labels) -> None:
    assert [item.label for item in open_labelled(tiny / "train", labels).items] == [0, 1, 2]


@pytest.mark.parametrize("part", ["", "ILSVRC/Data/CLS-LOC/val", "ILSVRC/Data/CLS-LOC", "LOC_val_solution.csv"])
def test_kaggles_val_from_wherever_one_stands(kaggle: Path, part: str) -> None:
    data = open_labelled(kaggle / part, BY_ID)
    assert [item.label for item in data.items] == [0, 1, 2, 0, 1, 2]
    assert "LOC_val_solution.csv" in data.notes[0]


def test_kaggles_root_with_its_table_says_which_folder_has_classes(kaggle: Path) -> None:
    with pytest.raises(DataError, match="2 of the 8 images") as caught:
        open_labelled(kaggle, BY_ID, ground_truth=kaggle / "LOC_val_solution.csv")
    assert str(kaggle / "ILSVRC" / "Data" / "CLS-LOC" / "val") in caught.value.hint


def test_class_folders_stay_class_folders_where_the_table_still_lies(tiny: Path) -> None:
    """Many move the images of val into folders of classes, and leave the table."""
    val = tiny / "val"
    for k, image in enumerate(sorted((val / "images").iterdir())):
        (val / IDS[k % 3]).mkdir(exist_ok=True)
        image.rename(val / IDS[k % 3] / image.name)
    (val / "images").rmdir()
    assert find_annotated(val) is None
    assert [item.label for item in open_labelled(val, BY_ID).items] == [0, 0, 1, 1, 2, 2]


def test_a_flat_folder_without_a_table_is_none(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    assert find_annotated(tmp_path) is None
    assert find_annotated(tmp_path / "absent") is None
