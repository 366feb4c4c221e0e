from __future__ import annotations

import pytest

from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Labels

CIFAR = read_labels("cifar10")


@pytest.fixture
def cifar_folder(tmp_path):
    for name in ("test_batch.bin", "data_batch_1.bin"):
        (tmp_path / name).write_bytes(b"\3" + b"\0" * 3072)
    return tmp_path


def test_cifar_gives_its_test_set(cifar_folder):
    data = open_labelled(cifar_folder, CIFAR, verify=False)
    assert (data.name, data.items[0].label) == ("cifar10 test", 3)


def test_cifar_is_verified_unless_told_otherwise(cifar_folder):
    with pytest.raises(DataError, match="the official file"):
        open_labelled(cifar_folder, CIFAR)


def test_a_network_of_other_classes_is_refused(cifar_folder):
    with pytest.raises(DataError, match="cifar10 with 10 classes, the network has 1000"):
        open_labelled(cifar_folder, read_labels("imagenet"), verify=False)


def test_a_network_that_names_other_classes_is_refused(cifar_folder):
    fruit = Labels(("apple", "fig", "kiwi", "lime", "nut", "oat", "pear", "plum", "rice", "yam"))
    with pytest.raises(DataError, match="the network has others, such as 'apple'"):
        open_labelled(cifar_folder, fruit, verify=False)
    for names in ((f"LABEL_{k}" for k in range(10)), ("cat", *fruit.names[1:]), read_labels("cifar10").names):
        assert open_labelled(cifar_folder, Labels(tuple(names)), verify=False).items


def test_folders_of_images_beside_cifar_are_named(cifar_folder):
    (cifar_folder / "val").mkdir()
    (cifar_folder / "val" / "a.png").touch()
    assert "left out beside the files of CIFAR" in open_labelled(cifar_folder, CIFAR, verify=False).skipped.notes[0]


def test_class_folders_are_labelled_images(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.png").touch()
    assert open_labelled(tmp_path, CIFAR).items[0].label == 3


@pytest.mark.parametrize("name", ["val.csv", "val.txt"])
def test_an_index_is_labelled_images(tmp_path, name):
    (tmp_path / "x.png").touch()
    (tmp_path / name).write_text("x.png,cat\n" if name == "val.csv" else "x.png 3\n")
    (item,) = open_labelled(tmp_path / name, CIFAR).items
    assert (item.label, item.source) == (3, tmp_path / "x.png")


def test_a_flat_folder_has_its_classes_from_its_ground_truth(tmp_path):
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "x.png").touch()
    (tmp_path / "val.txt").write_text("x.png 3\n")
    assert open_labelled(tmp_path / "val", CIFAR, ground_truth=tmp_path / "val.txt").items[0].label == 3


def test_ground_truth_goes_with_a_folder(tmp_path):
    (tmp_path / "val.txt").write_text("x.png 3\n")
    with pytest.raises(ConfigError, match="is not a folder of images"):
        open_labelled(tmp_path / "val.txt", CIFAR, ground_truth=tmp_path / "val.txt")


def test_a_file_that_only_looks_like_an_index_is_an_error_with_its_reason(tmp_path):
    (tmp_path / "numbers.txt").write_text("490\n361\n")
    with pytest.raises(DataError, match=r"numbers\.txt is not labelled data: .* numbers only") as caught:
        open_labelled(tmp_path / "numbers.txt", CIFAR)
    assert "meta.mat" in caught.value.hint


@pytest.mark.parametrize("name", ["missing", "notes.md"])
def test_anything_else_says_what_is_accepted(tmp_path, name):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match=name) as caught:
        open_labelled(tmp_path / name, CIFAR)
    assert "one folder a class" in caught.value.hint
