"""Where splits and class folders lie: told by the names in use, refused where that is unclear."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.layout import find_layout, role_of
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.splits import find_split
from wideresnet.datasets.train_val_split import open_split
from wideresnet.errors import DataError
from wideresnet.records import Labels

PETS = Labels(("cat", "dog"))


def tree(root: Path, *folders: str, images: int = 3) -> Path:
    """``root`` with empty files that are called like images in each of ``folders``."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(images):
            (root / folder / f"{number}.png").touch()
    return root


def pets(root: Path, *splits: str) -> Path:
    """``root`` with two class folders in each of ``splits``."""
    return tree(root, *(f"{split}/{name}" for split in splits for name in PETS.names))


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("train", "train Train TRAIN Training training_set train_set trainset train-data train2017 seg_train 训练集"),
        ("val", "val valid Valid Validation validation_set val_set valset dev Dev dev_set eval val-images 验证"),
        ("test", "test Test TEST testing Testing test_set test-set testset test_data test1 img_test 测试集"),
        ("", "cat trainer bullet_train train_station tests contest values valley devil set images 1 data"),
    ],
)
def test_splits_are_known_by_the_names_in_use(role: str, names: str) -> None:
    assert {role_of(name) for name in names.split()} == {role}


@pytest.mark.parametrize(
    ("splits", "learnt", "held"),
    [
        (("train", "valid"), "train", "valid"),
        (("Training", "Validation", "Testing"), "Training", "Validation"),
        (("training_set", "test_set"), "training_set", "test_set"),
        (("zip/TRAIN", "zip/DEV"), "zip/TRAIN", "zip/DEV"),
        (("seg_train/seg_train", "seg_test/seg_test"), "seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_splits_are_taken_as_splits(tmp_path: Path, splits: tuple[str, ...], learnt: str, held: str) -> None:
    split = open_split(pets(tmp_path / "data", *splits), 0.2, 0)
    assert (split.name, split.labels, split.divided) == ("data", PETS, False)
    assert {Path(item.path).parent.parent for item in split.train.items} == {tmp_path / "data" / learnt}
    assert {Path(item.path).parent.parent for item in split.val.items} == {tmp_path / "data" / held}
    assert len(find_split(tmp_path / "data").train.items) == len(split.train.items)


def test_one_folder_around_class_folders_or_a_lone_training_split_is_gone_into(tmp_path: Path) -> None:
    for inner in ("pets", "zip/pets", "Train", "pets/train"):
        split = open_split(pets(tmp_path / inner.replace("/", "-"), inner), 0.2, 0)
        assert (split.labels, split.divided, len(split.train.items)) == (PETS, True, 4)
    root = pets(tmp_path / "named-as-a-split", "test/train", "test/val")
    assert len(open_split(root, 0.2, 0).train.items) == 6


def test_what_was_taken_and_left_out_is_said(tmp_path: Path) -> None:
    (note,) = open_split(pets(tmp_path / "two", "train", "test"), 0.2, 0).skipped.notes
    assert note == f"{tmp_path}/two/test is the validation set: there is no other"
    (note,) = open_split(pets(tmp_path / "three", "train", "val", "test"), 0.2, 0).skipped.notes
    assert f"--test {tmp_path}/three/test" in note
    assert open_split(tmp_path / "three", 0.2, 0, tmp_path / "three/test").skipped.notes == ()
    tree(tmp_path / "less", "train/cat", "train/dog", "val/cat", "extra")
    notes = open_split(tmp_path / "less", 0.2, 0).skipped.notes
    assert notes == (
        f"left out beside the splits of {tmp_path}/less: extra/", f"{tmp_path}/less/val has no folder for dog/",
    )  # fmt: skip


def test_a_test_split_that_nothing_is_to_be_chosen_by_is_no_validation_set(tmp_path: Path) -> None:
    """``finetune --data DIR --test DIR/test``, or ``--test DIR``: what judges is cut from the training split."""
    for test in (tmp_path / "test", tmp_path):
        split = open_split(pets(tmp_path, "train", "test"), 0.2, 0, test)
        assert split.divided
        assert {Path(item.path).parent.parent.name for item in (*split.train.items, *split.val.items)} == {"train"}
    assert not open_split(tmp_path, 0.2, 0, tmp_path / "elsewhere").divided


@pytest.mark.parametrize("classes", [("bus", "car"), ("bus",), ("validated", "car")])
def test_a_class_may_have_the_name_of_a_split(tmp_path: Path, classes: tuple[str, ...]) -> None:
    for name in ("train", "test"):
        root = tree(tmp_path / name, name, *classes)
        assert set(open_split(root, 0.2, 0).labels.names) == {name, *classes}


@pytest.mark.parametrize("depth", ["cat/a/b", "cat/images", "cat/cat"])
def test_images_of_a_class_may_lie_deeper(tmp_path: Path, depth: str) -> None:
    """As in Tiny ImageNet: WNID/images/x.JPEG, with a table beside."""
    tree(tmp_path, depth, depth.replace("cat", "dog"), "hen")
    (tmp_path / "cat" / "cat_boxes.txt").touch()
    split = open_split(tmp_path, 0.2, 0)
    assert split.labels.names == ("cat", "dog", "hen")
    assert split.skipped.by_ending == {".txt": 1}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("a/cat", "a/dog", "b/cat", "b/dog"), "is a/ a class, or a/cat/?"),
        (("a/cat", "a/dog", "b/cat", "b/dog", "hen"), "is a/ a class, or a/cat/?"),
        (("fold1/cat", "fold2/cat"), "is fold1/ a class, or fold1/cat/?"),
        (("cat/train", "cat/test", "dog/train", "dog/test"), "is cat/ a class, or cat/test/?"),
        (("train/a/cat", "train/a/dog", "train/b/cat", "train/b/dog", "val/a/cat"), "is a/ a class, or a/cat/?"),
        (("Train/cat", "train/dog"), "Train/ and train/ of .* all name its train split"),
        (("train/cat", "train/dog", "training/cat", "val/cat"), "all name its train split"),
        (("train/cat", "train/dog", "bus"), "holds train/, a split by its name, beside bus/"),
        (("amazon/images/cup", "amazon/images/pen", "dslr/images/cup", "webcam/images/cup"), "or amazon/images/cup/?"),
        (("dataset/train/cat", "dataset/test/cat", "samples"), "is dataset/ a class, or dataset/test/?"),
        (("dataset/train/cat", "dataset/train/dog", "samples"), "is dataset/ a class, or dataset/train/?"),
        (("train", "test"), "holds no class folders"),
        (("train", "test", "bus"), "holds no class folders"),
        (("val/cat", "val/dog"), "has no folder 'train'"),
        (("train/cat", "train/dog", "val/cat", "val/hen"), "val/hen is of no class in .*train, which holds cat/ and"),
    ],
)
def test_what_is_unclear_is_refused_with_the_names_that_are_known(
    tmp_path: Path, folders: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_split(tree(tmp_path, *folders), 0.2, 0)
    assert "train" in caught.value.hint or "move the others away" in caught.value.hint


@pytest.mark.parametrize(
    ("folders", "strays", "message"),
    [
        (("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog"), ("fold1", "fold2"), "is fold1/ a class, or fold1/cat/?"),
        (("fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog", "hen"), ("fold1",), "is fold1/ a class"),
        (("a/cat", "a/dog", "a/cow", "a/hen", "b/ant", "b/bee", "b/fly", "b/bug"), ("a", "b"), "is a/ a class, or a/"),
        (("dataset/train/cat", "dataset/test/cat", "samples"), ("dataset",), "is dataset/ a class"),
        (("train/cat", "train/dog", "unlabeled"), ("train",), "holds train/, a split by its name, beside unlabeled/"),
    ],
)
def test_a_stray_image_makes_no_class_of_what_is_around_class_folders(
    tmp_path: Path, folders: tuple[str, ...], strays: tuple[str, ...], message: str
) -> None:
    tree(tree(tmp_path, *folders), *strays, images=1)
    with pytest.raises(DataError, match=message) as caught:
        open_split(tmp_path, 0.2, 0)
    assert f"give {tmp_path}/{message.split('/')[0].split()[-1]}" in caught.value.hint
    assert "splits have the names" in caught.value.hint


@pytest.mark.parametrize(
    "folders",
    [
        ("cat", "cat/more", "dog", "dog/more"),
        ("cat", "cat/in", "cat/out", "dog", "dog/in", "dog/out"),
        ("cat", "cat/test", "dog"),
        ("cat/images", "cat/masked", "dog"),
        ("cat/a", "dog/b", "dog"),
    ],
)
def test_classes_may_have_folders_of_their_own(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """Where a third of the images lie directly in the class folder, or no other class has the same ones."""
    split = open_split(tree(tmp_path, *folders), 0.2, 0)
    assert (split.labels, len(split.train.items) + len(split.val.items)) == (PETS, 3 * len(folders))


def test_folders_without_images_in_a_class_are_none_of_its_parts(tmp_path: Path) -> None:
    tree(tmp_path, *(f"{name}/{part}" for name in PETS.names for part in ("masks", "boxes")), images=0)
    assert open_split(tree(tmp_path, "cat/images", "dog/images"), 0.2, 0).labels == PETS


def test_classes_called_as_splits_alone_are_told_why_they_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train holds no class folders") as caught:
        open_split(tree(tmp_path, "train", "test", "val"), 0.2, 0)
    assert "train/ is a split by its name: rename it if it is a class" in caught.value.hint


def test_where_no_split_is_what_is_there_is_said(tmp_path: Path) -> None:
    """``wrn train`` divides nothing: a folder around the splits is named where an image or a folder lies beside it."""
    pets(tmp_path / "a", "zip/train", "zip/val")
    tree(tree(tmp_path, "b/train", "b/bus"), "a", images=2)
    for name, content, hint in (("a", "zip/ beside 2 images", "/a/zip"), ("b", "bus/ and train/", "splits have")):
        with pytest.raises(DataError, match=f"{name} holds no splits: {content}") as caught:
            find_split(tmp_path / name)
        assert hint in caught.value.hint


def test_an_evaluation_takes_the_only_split_that_was_not_learnt_from(tmp_path: Path) -> None:
    for splits, held in ((("train", "valid"), "valid"), (("Train", "Test"), "Test"), (("a/train", "a/dev"), "a/dev")):
        root = pets(tmp_path / held.replace("/", "-"), *splits)
        data = open_labelled(root, PETS)
        assert {Path(item.path).parent.parent for item in data.items} == {root / held}
        assert data.skipped.notes[-1] == f"took {root / held}, left out {root / splits[0]}/"
    assert data.skipped.notes[0] == f"went into {root}/a, the only folder in {root}"


@pytest.mark.parametrize(
    ("splits", "hint"), [(("train", "val", "test"), "{0}/val or {0}/test"), (("train",), "{0}/train")]
)
def test_an_evaluation_asks_which_split_where_there_are_two_or_none(
    tmp_path: Path, splits: tuple[str, ...], hint: str
) -> None:
    with pytest.raises(DataError, match="to evaluate is unclear") as caught:
        open_labelled(pets(tmp_path, *splits), PETS)
    assert caught.value.hint == f"give {hint.format(tmp_path)}"


def test_folders_of_known_classes_are_classes_whatever_their_names(tmp_path: Path) -> None:
    data = open_labelled(tree(tmp_path, "train/steam", "val", "test"), Labels(("train", "val", "test")))
    assert data.present == (0, 1, 2)


@pytest.mark.parametrize(
    "name", ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", ".thumbnails", "#recycle"]
)
def test_system_folders_are_neither_class_nor_split_nor_hint(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path / "pets", "cat", "dog", f"{name}/cat", f"cat/{name}")
    assert open_split(root, 0.2, 0).labels == PETS
    data = open_labelled(root, PETS)
    assert (len(data.items), data.skipped.system_folders) == (6, 2)
    tree(tmp_path / "zip" / "pets", "cat", "dog")
    tree(tmp_path / "zip", f"{name}/pets/cat")
    split = open_split(tmp_path / "zip", 0.2, 0)
    assert (split.labels, split.skipped.system_folders) == (PETS, 1)
    with pytest.raises(DataError) as caught:
        labelled_folder(tree(tmp_path / "other", f"cow/{name}/cat"), Labels(("cat", name)))
    assert name not in caught.value.hint


def test_a_class_without_an_image_that_is_read_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "cat", "dog")
    (tmp_path / "hen").mkdir()
    (tmp_path / "hen" / "a.DNG").touch()
    (tmp_path / "loose.png").touch()
    skipped = open_labelled(tmp_path, Labels(("cat", "dog", "hen"))).skipped
    assert skipped.notes == (f"1 image beside the class folders of {tmp_path}", f"no image in hen/ of {tmp_path}")
    assert skipped.by_ending == {".dng": 1}
    with pytest.raises(DataError, match=r"the class 'hen' of .* has no readable training image") as caught:
        open_split(tmp_path, 0.2, 0)
    assert "1 .dng" in caught.value.hint


def test_the_layout_of_what_is_no_folder_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder 'absent'"):
        find_layout(tmp_path / "absent")
