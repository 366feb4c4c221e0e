"""CIFAR-10 and CIFAR-100 in their official binary format, straight from the archive.

A file is rows of ``label byte(s), 1024 red, 1024 green, 1024 blue``; a row is a 32x32 picture
(https://www.cs.toronto.edu/~kriz/cifar.html). The pickled "python version" is never read: pickle
executes code.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.data.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.records import Item

SIDE = 32                                          # pixels
PIXEL_BYTES = 3 * SIDE * SIDE
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images and labels of a file


@dataclass(frozen=True)
class CifarFormat:
    """The files of one of the two sets."""

    name: str
    classes: int
    folder: str                                    # inside the archive
    archive: str
    train: Mapping[str, int]                       # file -> rows
    test: Mapping[str, int]
    label_bytes: int                               # a row's class is the last of them
    sha1: Mapping[str, str] = field(default_factory=dict)


CIFAR10 = CifarFormat(
    name="cifar10",
    classes=10,
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    train={f"data_batch_{k}.bin": 10_000 for k in range(1, 6)},
    test={"test_batch.bin": 10_000},
    label_bytes=1,
    sha1={
        "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
        "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
    },
)
CIFAR100 = CifarFormat(
    name="cifar100",
    classes=100,
    folder="cifar-100-binary",
    archive="cifar-100-binary.tar.gz",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    label_bytes=2,                                 # superclass, then the class everybody reports on
)


@dataclass(frozen=True, eq=False)
class CifarArrays:
    """A whole set in memory. Images: RGB uint8 [N, 32, 32, 3]. Labels: int64 [N]."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def read_cifar10(path: Path, *, verify: bool = True) -> CifarArrays:
    """50,000 training and 10,000 test pictures of ``cifar-10-binary.tar.gz``.

    ``path`` is the archive, its extracted folder, or a folder that holds either. ``verify`` demands
    the official lengths and SHA-1; without it any number of whole rows is read. Raises DataError.
    """
    return _read_arrays(path, CIFAR10, verify)


def read_cifar100(path: Path, *, verify: bool = True) -> CifarArrays:
    """Like ``read_cifar10``, for ``cifar-100-binary.tar.gz`` and its 100 fine classes.

    ``verify`` demands the official lengths only.
    """
    return _read_arrays(path, CIFAR100, verify)


def cifar10_test(path: Path, *, verify: bool = True) -> LabelledData:
    """The 10,000 test pictures of CIFAR-10, already decoded, as ``test_batch/00017``."""
    return cifar_test(path, CIFAR10, verify=verify)


def cifar_test(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """The test set of either kind; reads no more of the archive than it needs. Raises DataError."""
    return _labelled(path, kind, "test", kind.test, verify)


def cifar_train(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """The training set of either kind, like ``cifar_test``."""
    return _labelled(path, kind, "train", kind.train, verify)


def detect_cifar(path: Path) -> CifarFormat | None:
    """Which of the two sets lies at ``path`` (see ``read_cifar10``), or None. Reads names only."""
    for kind in (CIFAR10, CIFAR100):
        if path.is_dir():
            if _locate(path, kind) is not None:
                return kind
        elif path.is_file() and _is_archive_of(path, kind):
            return kind
    return None


def _labelled(
    path: Path, kind: CifarFormat, split: str, files: Mapping[str, int], verify: bool
) -> LabelledData:
    """Every picture of ``files`` as an item called ``data_batch_1/00017``."""
    parts = dict(_parts(path, kind, files, verify))
    items = [
        Item(path=f"{name.removesuffix('.bin')}/{k:05d}", source=image, label=int(label))
        for name in files
        for k, (image, label) in enumerate(zip(*parts[name], strict=True))
    ]
    return LabelledData(name=f"{kind.name} {split}", items=items, classes=kind.classes)


def _read_arrays(path: Path, kind: CifarFormat, verify: bool) -> CifarArrays:
    parts = dict(_parts(path, kind, {**kind.train, **kind.test}, verify))
    train_images, train_labels = _joined([parts[name] for name in kind.train])
    test_images, test_labels = _joined([parts[name] for name in kind.test])
    return CifarArrays(train_images, train_labels, test_images, test_labels)


def _joined(parts: list[Part]) -> Part:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _parts(
    path: Path, kind: CifarFormat, files: Mapping[str, int], verify: bool
) -> Iterator[tuple[str, Part]]:
    """Every wanted file once, in the archive's order, as (images, labels)."""
    found = _locate(path, kind)
    if found is None:
        raise DataError(
            f"{path} holds no {kind.name} in the binary format",
            hint=f"expected {kind.archive}, or its extracted folder {kind.folder}"
            " (the 'python version' is pickled and not read)",
        )
    missing = set(files)
    blobs = _files_of_folder(found, files) if found.is_dir() else _files_of_archive(found, files)
    for name, blob in blobs:
        if verify:
            _check(name, blob, kind, files[name])
        yield name, _rows(name, blob, kind)
        missing.discard(name)
    if missing:
        raise DataError(
            f"{found} lacks {', '.join(sorted(missing))}", hint=f"fetch {kind.archive} again"
        )


def _locate(path: Path, kind: CifarFormat) -> Path | None:
    """The archive or the folder with the .bin files: ``path`` itself or directly inside it."""
    if path.is_file():
        return path
    any_file = next(iter(kind.test))
    for folder in (path, path / kind.folder):
        # "test.bin" alone is too common a name to say CIFAR-100.
        if (folder / any_file).is_file() and any((folder / name).is_file() for name in kind.train):
            return folder
    archive = path / kind.archive
    return archive if archive.is_file() else None


def _is_archive_of(path: Path, kind: CifarFormat) -> bool:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                # The official archives hold one folder, so that the first file decides.
                if member.isfile():
                    return Path(member.name).parent.name == kind.folder
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    return False


def _files_of_folder(folder: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    for name in wanted:
        try:
            yield name, (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"cannot read {folder / name}: {error.strerror}") from error


def _files_of_archive(path: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """One pass without seeking back; ends as soon as all are found."""
    left = set(wanted)
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = Path(member.name).name
                stream = archive.extractfile(member) if member.isfile() and name in left else None
                if stream is not None:
                    yield name, stream.read()
                    left.discard(name)
                    if not left:
                        return
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} is no readable tar archive: {error}", hint="it may be cut short; fetch it again"
        ) from error


def _check(name: str, blob: bytes, kind: CifarFormat, rows: int) -> None:
    length = rows * (kind.label_bytes + PIXEL_BYTES)
    if len(blob) != length:
        raise DataError(
            f"{name} has {len(blob):,} bytes, the official file {length:,}",
            hint=f"it is cut short or another set; fetch {kind.archive} again",
        )
    expected = kind.sha1.get(name)
    if expected and (found := hashlib.sha1(blob, usedforsecurity=False).hexdigest()) != expected:
        raise DataError(
            f"{name} differs from the official file",
            hint=f"its SHA-1 is {found}, expected {expected}; fetch {kind.archive} again",
        )


def _rows(name: str, blob: bytes, kind: CifarFormat) -> Part:
    """Rows -> (RGB uint8 [N, 32, 32, 3], labels int64 [N])."""
    width = kind.label_bytes + PIXEL_BYTES
    if not blob or len(blob) % width:
        raise DataError(
            f"{name} has {len(blob):,} bytes, which is no whole number of {width:,}-byte rows",
            hint=f"it is cut short or no {kind.name} file; fetch {kind.archive} again",
        )
    rows = np.frombuffer(blob, np.uint8).reshape(-1, width)
    labels = rows[:, kind.label_bytes - 1].astype(np.int64)
    if labels.max() >= kind.classes:
        raise DataError(f"{name} has a label {labels.max()}, {kind.name} has {kind.classes} classes")
    planes = rows[:, kind.label_bytes :].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
