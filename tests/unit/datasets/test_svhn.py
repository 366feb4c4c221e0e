"""SVHN's three files: images the right way up, 10 is the digit 0, and anything else is an error in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fakes import tiny_images
from mat5 import write_arrays, write_structs
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.svhn import TEST, TRAIN, read_svhn
from wideresnet.errors import DataError

IMAGES = tiny_images(12, 32)
DIGITS = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1], np.uint8)
PARTS = {"train_32x32.mat": slice(0, 5), "extra_32x32.mat": slice(5, 10), "test_32x32.mat": slice(10, 12)}


def write(folder: Path, name: str, images: np.ndarray, digits: np.ndarray) -> None:
    """As the official files: row, column, colour, image; the digits as doubles in a column."""
    folder.mkdir(exist_ok=True)
    arrays = {"X": images.transpose(1, 2, 3, 0), "y": digits.astype(np.float64)[:, None]}
    (folder / name).write_bytes(write_arrays(arrays))


@pytest.fixture
def svhn(tmp_path: Path) -> Path:
    for name, part in PARTS.items():
        write(tmp_path / "svhn", name, IMAGES[part], DIGITS[part])
    return tmp_path / "svhn"


def test_train_and_extra_are_learnt_from_and_label_k_is_the_digit_k(svhn: Path) -> None:
    arrays = read_svhn(svhn, verify=False)
    np.testing.assert_array_equal(arrays.train_images, IMAGES[:10])
    np.testing.assert_array_equal(arrays.test_images, IMAGES[10:])
    assert arrays.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert arrays.test_labels.tolist() == [0, 1]
    assert (arrays.train_images.dtype, arrays.train_labels.dtype) == (np.uint8, np.int64)
    assert arrays.train_images.flags.c_contiguous


def test_the_official_numbers_are_demanded(svhn: Path) -> None:
    assert (sum(TRAIN.values()), sum(TEST.values())) == (604_388, 26_032)
    with pytest.raises(DataError, match="holds 5 images, the official file 73,257"):
        read_svhn(svhn)


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_file_is_named_with_those_that_are_expected(svhn: Path, name: str) -> None:
    (svhn / name).unlink()
    with pytest.raises(DataError, match=f"cannot read .*{name}: No such file") as caught:
        read_svhn(svhn, verify=False)
    assert "extra_32x32.mat" in caught.value.hint


def test_other_contents_are_refused(svhn: Path) -> None:
    for digits in (np.array([0, 1]), np.array([1, 11]), np.array([1.5, 2])):
        write(svhn, "test_32x32.mat", IMAGES[:2], digits)
        with pytest.raises(DataError, match="labels outside 1 to 10"):
            read_svhn(svhn, verify=False)
    write(svhn, "test_32x32.mat", tiny_images(2, 16), np.array([1, 2]))
    with pytest.raises(DataError, match=r"holds uint8 \[16, 16, 3, 2\] and 2 labels"):
        read_svhn(svhn, verify=False)
    write(svhn, "test_32x32.mat", IMAGES[:2], np.array([1, 2, 3]))
    with pytest.raises(DataError, match="and 3 labels"):
        read_svhn(svhn, verify=False)
    for data in (b"no file of MATLAB's", write_structs("digitStruct", [{"name": "1.png"}])):
        (svhn / "test_32x32.mat").write_bytes(data)
        with pytest.raises(DataError, match=r"test_32x32\.mat: "):
            read_svhn(svhn, verify=False)


@pytest.mark.parametrize("name", ["", "test_32x32.mat"])
def test_the_test_images_alone_are_labelled_data(svhn: Path, name: str) -> None:
    (svhn / "extra_32x32.mat").unlink()            # 1.3 GB that evaluating does not need
    data = open_labelled(svhn / name, read_labels("svhn"), verify=False)
    assert (data.name, data.classes, [item.label for item in data.items]) == ("svhn test", 10, [0, 1])
    np.testing.assert_array_equal(data.items[1].source, IMAGES[11])
    assert data.items[1].path == "test_32x32/00001"
    with pytest.raises(DataError, match="svhn with 10 classes, the network has 1000"):
        open_labelled(svhn, read_labels("imagenet"), verify=False)
    with pytest.raises(DataError, match="holds 2 images, the official file 26,032"):
        open_labelled(svhn / name, read_labels("svhn"))
