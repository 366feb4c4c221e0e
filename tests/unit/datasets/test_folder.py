from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import DataError
from wideresnet.records import Labels

IMAGENET = read_labels("imagenet")
PETS = Labels(("cat", "dog", "crane", "crane"), ("n1", "n2", "n3", "n4"))


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_a_subset_keeps_the_indices_of_the_whole(tmp_path):
    """Ten classes of ImageNet are scored among a thousand; the files are sorted."""
    root = tree(
        tmp_path / "val", "n03028079/b.JPEG", "n03028079/a.JPEG", "n01440764/x.JPEG", "n03028079/no.txt"
    )
    data = labelled_folder(root, IMAGENET)
    assert (data.name, data.classes) == ("val", 1000)
    assert [(Path(item.path).name, item.label) for item in data.items] == [
        ("x.JPEG", 0),
        ("a.JPEG", 497),
        ("b.JPEG", 497),
    ]
    assert data.items[0].source == root / "n01440764" / "x.JPEG"


@pytest.mark.parametrize(
    ("folder", "index"), [("n2", 1), ("dog", 1), ("1", 1), ("3", 3), ("n4", 3), ("00", 0)]
)
def test_a_folder_names_its_class_by_id_name_or_index(tmp_path, folder, index):
    (item,) = labelled_folder(tree(tmp_path, f"{folder}/x.png"), PETS).items
    assert item.label == index


def test_digits_that_are_names_are_names(tmp_path):
    labels = Labels(("5", "6", "7"))
    assert labelled_folder(tree(tmp_path, "6/x.png"), labels).items[0].label == 1


def test_images_in_deeper_folders_count_and_hidden_ones_do_not(tmp_path):
    root = tree(tmp_path, "cat/a/b.png", "cat/.c.png", ".cache/x.png", "README.txt")
    assert [Path(item.path).name for item in labelled_folder(root, PETS).items] == ["b.png"]


@pytest.mark.parametrize("stray", [(), ("0/x.png",)])
def test_folders_around_class_folders_are_no_indices(tmp_path, stray):
    """Folds 0, 1 and 2, each with folders of classes, also where an image lies beside them."""
    root = tree(tmp_path, *(f"{fold}/{name}/{k}.png" for fold in range(3) for name in ("cat", "dog") for k in "ab"))
    with pytest.raises(DataError, match="0 holds folders of other classes: dog/") as caught:
        labelled_folder(tree(root, *stray), PETS)
    assert caught.value.hint == f"give {root}/0"


@pytest.mark.parametrize("path", ["cat/images/x.png", "cat/cat/x.png", "cat/n1/x.png", "cat/1/x.png", "0/cat/x.png"])
def test_images_of_a_class_may_lie_in_folders_of_its_own(tmp_path, path):
    """Numbers in them are no indices of other classes."""
    assert [item.label for item in labelled_folder(tree(tmp_path, path, "dog/y.png"), PETS).items] == [0, 1]


def test_images_beside_class_folders_are_counted_as_such(tmp_path):
    skipped = labelled_folder(tree(tmp_path, "cat/x.png", "a.png", "b.png"), PETS).skipped
    assert (skipped.by_ending, skipped.notes) == ({}, (f"2 images beside the class folders of {tmp_path}",))


def test_a_link_to_the_data_adds_nothing_to_a_class(tmp_path):
    """In a class folder, or beside those of the classes."""
    tree(tmp_path, "cat/x.png", "dog/y.png")
    for link in ("cat/all", "crane"):
        (tmp_path / link).symlink_to(tmp_path, target_is_directory=True)
    data = labelled_folder(tmp_path, PETS)
    assert [item.label for item in data.items] == [0, 1]
    assert set(data.skipped.notes) == {f"{tmp_path}/{link} leads back to {tmp_path}" for link in ("cat/all", "crane")}


def test_a_folder_of_no_class_is_named_with_a_suggestion(tmp_path):
    with pytest.raises(DataError, match=r"n0144076 fits none of the 1000 classes") as caught:
        labelled_folder(tree(tmp_path, "n0144076/x.png"), IMAGENET)
    assert "n01440764" in caught.value.hint


@pytest.mark.parametrize("name", ["4", "1000", "-1", "٣"])
def test_an_index_beyond_the_classes_fits_none(tmp_path, name):
    """So devkit numbers, 1 to 1000, are found out by their last."""
    with pytest.raises(DataError, match="fits none of the 4 classes"):
        labelled_folder(tree(tmp_path, f"{name}/x.png"), PETS)


def test_folders_that_count_from_one_are_noticed(tmp_path):
    with pytest.raises(DataError, match="4 fits none of the 4 classes") as error:
        labelled_folder(tree(tmp_path, *(f"{number}/a.png" for number in (1, 2, 3, 4))), PETS)
    assert error.value.hint.startswith("indices run from 0 to 3, these seem to count from 1")


def test_a_name_of_two_classes_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        labelled_folder(tree(tmp_path, "crane/x.png"), PETS)
    assert "several classes are called 'crane'" in caught.value.hint


def test_two_folders_of_one_class_are_refused(tmp_path):
    with pytest.raises(DataError, match="of one class"):
        labelled_folder(tree(tmp_path, "cat/x.png", "n1/y.png"), PETS)


def test_one_folder_too_high_is_noticed(tmp_path):
    with pytest.raises(DataError) as caught:
        labelled_folder(tree(tmp_path, "val/cat/x.png"), PETS)
    assert str(tmp_path / "val") in caught.value.hint


def test_without_class_folders_or_images_there_is_nothing_to_score(tmp_path):
    with pytest.raises(DataError, match="no class folders"):
        labelled_folder(tree(tmp_path, "x.png"), PETS)
    with pytest.raises(DataError, match="no images"):
        labelled_folder(tree(tmp_path, "cat/notes.txt"), PETS)
    with pytest.raises(DataError, match="cannot list"):
        labelled_folder(tmp_path / "missing", PETS)
