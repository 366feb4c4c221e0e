from __future__ import annotations

import pytest

from wideresnet.data.labels import read_labels
from wideresnet.data.open import open_labelled
from wideresnet.errors import DataError

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


def test_class_folders_are_labelled_pictures(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.png").touch()
    assert open_labelled(tmp_path, CIFAR).items[0].label == 3


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_anything_else_says_what_is_accepted(tmp_path, name):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=name) as caught:
        open_labelled(tmp_path / name, CIFAR)
    assert "one folder a class" in caught.value.hint
