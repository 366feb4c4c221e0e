"""SVHN's cropped digits (http://ufldl.stanford.edu/housenumbers, "Format 2") in their three MATLAB files.

A file holds ``X``, uint8 [32, 32, 3, N] (row, column, colour, image), and ``y`` [N, 1], the digit, where 10 is a 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets.cifar import SIDE, CifarArrays
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.matlab import read_arrays
from wideresnet.errors import DataError
from wideresnet.pipes import read_file
from wideresnet.records import Item

# File -> images. The paper trains on "train" and "extra" together.
TRAIN = {"train_32x32.mat": 73_257, "extra_32x32.mat": 531_131}
TEST = {"test_32x32.mat": 26_032}
MOST_BYTES = 2**31                                 # extra_32x32.mat holds 1.6 GB
_EXPECTED = (
    f"expected a folder with {', '.join([*TRAIN, *TEST])}, the 'cropped digits' of ufldl.stanford.edu/housenumbers"
)


def read_svhn(path: Path, *, verify: bool = True) -> CifarArrays:
    """604,388 training and 26,032 test images from the folder ``path``; label k is the digit k. Raises DataError.

    ``verify`` demands the official numbers of images. Takes 5 GB of memory while it reads, 2 GB afterwards.
    """
    train = [_read(path / name, count, verify) for name, count in TRAIN.items()]
    (test,) = (_read(path / name, count, verify) for name, count in TEST.items())
    return CifarArrays(
        np.concatenate([images for images, _ in train]), np.concatenate([labels for _, labels in train]), *test
    )


def detect_svhn(path: Path) -> Path | None:
    """The file of the test images, where ``path`` is it or the folder that holds it. Reads names only."""
    (name,) = TEST
    file = path / name if path.is_dir() else path
    return file if file.name == name and file.is_file() else None


def svhn_test(file: Path, *, verify: bool = True) -> LabelledData:
    """The 26,032 test images, already decoded, as ``test_32x32/00017``. Raises DataError."""
    (count,) = TEST.values()
    images, labels = _read(file, count, verify)
    items = [
        Item(f"{file.stem}/{number:05d}", image, int(label))
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    return LabelledData(name="svhn test", items=items, classes=10)


def _read(path: Path, count: int, verify: bool) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """RGB uint8 [N, 32, 32, 3] and int64 [N] of one file."""
    try:
        data = read_file(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint=_EXPECTED) from error
    try:
        images, digits = read_arrays(data, ("X", "y"), MOST_BYTES)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from error
    if images.dtype != np.uint8 or images.shape != (SIDE, SIDE, 3, digits.size):
        raise DataError(
            f"{path} holds {images.dtype} {list(images.shape)} and {digits.size} labels",
            hint=f"expected uint8 [{SIDE}, {SIDE}, 3, N] and N labels: the cropped digits, not the full numbers",
        )
    if verify and digits.size != count:
        raise DataError(
            f"{path} holds {digits.size:,} images, the official file {count:,}", hint="fetch it again"
        )
    if not np.isin(digits, np.arange(1, 11)).all():
        raise DataError(f"{path} has labels outside 1 to 10", hint=_EXPECTED)
    # MATLAB counts columns first: the image is the slowest axis already, and only H, W and C change places.
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), digits.ravel().astype(np.int64) % 10
