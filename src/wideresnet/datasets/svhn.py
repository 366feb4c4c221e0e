"""SVHN's cropped digits (http://ufldl.stanford.edu/housenumbers, "Format 2") in three MATLAB files.

A file holds ``X``, uint8 [32, 32, 3, N] (row, column, colour, image), and ``y`` [N, 1], the digit, where 10 is a 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets.cifar import SIDE, CifarArrays, concatenate
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.matlab import read_arrays
from wideresnet.errors import DataError, errors_as, os_errors_as
from wideresnet.pipes import read_file
from wideresnet.records import Item

# File -> images. The paper trains on "train" and "extra" together.
TRAIN = {"train_32x32.mat": 73_257, "extra_32x32.mat": 531_131}
TEST = {"test_32x32.mat": 26_032}
MAX_BYTES = 2**31                                  # extra_32x32.mat holds 1.6 GB
_EXPECTED_FILES = (
    f"expected a folder with {', '.join([*TRAIN, *TEST])}, the 'cropped digits' of ufldl.stanford.edu/housenumbers"
)


def read_svhn(path: Path, *, verify: bool = True) -> CifarArrays:
    """Read 604,388 training and 26,032 test images from the folder ``path``; label k is the digit k.

    ``verify`` requires the official numbers of images. Raises DataError. Reading takes 5 GB of memory, the result 2 GB.
    """
    train = [_read_mat(path / name, count, verify) for name, count in TRAIN.items()]
    (test,) = (_read_mat(path / name, count, verify) for name, count in TEST.items())
    return CifarArrays(*concatenate(train), *test)


def detect_svhn(path: Path) -> Path | None:
    """Return the file of the test images: ``path``, or in the folder ``path``; None for others. Reads names only."""
    (name,) = TEST
    file = path / name if path.is_dir() else path
    return file if file.name == name and file.is_file() else None


def svhn_test(file: Path, *, verify: bool = True) -> LabelledData:
    """Return the 26,032 test images, decoded, with names such as ``test_32x32/00017``. Raises DataError."""
    (count,) = TEST.values()
    images, labels = _read_mat(file, count, verify)
    items = [
        Item(f"{file.stem}/{number:05d}", image, int(label))
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return LabelledData(name="svhn test", items=items, classes=10)


def _read_mat(path: Path, count: int, verify: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the images of one file, RGB uint8 [N, 32, 32, 3], and their labels, int64 [N]."""
    with os_errors_as(DataError, f"cannot read {path}", _EXPECTED_FILES):
        data = read_file(path)
    with errors_as(DataError, DataError, str(path)):
        images, digits = read_arrays(data, ("X", "y"), MAX_BYTES)
    if images.dtype != np.uint8 or images.shape != (SIDE, SIDE, 3, digits.size):
        hint = f"expected uint8 [{SIDE}, {SIDE}, 3, N] and N labels: the cropped digits, not the full numbers"
        raise DataError(f"{path} holds {images.dtype} {list(images.shape)} and {digits.size} labels", hint)
    if verify and digits.size != count:
        raise DataError(f"{path} holds {digits.size:,} images, the official file {count:,}", hint="fetch it again")
    if not np.isin(digits, np.arange(1, 11)).all():
        raise DataError(f"{path} has labels outside 1 to 10", hint=_EXPECTED_FILES)
    # MATLAB stores columns first: the image is the slowest axis already, and only H, W and C are transposed.
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits.ravel().astype(np.int64) % 10
