"""CIFAR-10 and CIFAR-100 as their authors ship them, straight from the archive.

A file of the binary version is rows of ``label byte(s), 1024 red, 1024 green, 1024 blue``; a row is a 32x32 image
(https://www.cs.toronto.edu/~kriz/cifar.html). A file of the python version, which torchvision keeps, is a pickle of
the same rows: it is read by ``unpickle``, which executes nothing, and turned into the other.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.errors import DataError, WeightsError
from wideresnet.records import Item
from wideresnet.unpickle import load_pickle
from wideresnet.unpickle.arrays import StoredArray

SIDE = 32                                          # pixels
PIXEL_BYTES = 3 * SIDE * SIDE
MAX_FILE_BYTES = 400 * 2**20                       # of a file of either version; the largest pickle has 154 MB
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images and labels of a file


@dataclass(frozen=True)
class PythonFormat:
    """What else the python version of a set is: its files are called as the binary ones, without ``.bin``."""

    folder: str
    archive: str
    meta: str                                      # a file that lies beside the others
    labels: str                                    # the key of the classes
    names: str                                     # and, in ``meta``, of their names
    md5: Mapping[str, str]                         # as torchvision lists them


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
    python: PythonFormat
    sha1: Mapping[str, str] = field(default_factory=dict)


CIFAR10 = CifarFormat(
    name="cifar10",
    classes=10,
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    train={f"data_batch_{k}.bin": 10_000 for k in range(1, 6)},
    test={"test_batch.bin": 10_000},
    label_bytes=1,
    python=PythonFormat(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        meta="batches.meta",
        labels="labels",
        names="label_names",
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
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
    python=PythonFormat(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        meta="meta",
        labels="fine_labels",
        names="fine_label_names",
        md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    ),
)


@dataclass(frozen=True, eq=False)
class CifarArrays:
    """A whole set in memory. Images: RGB uint8 [N, 32, 32, 3]. Labels: int64 [N]."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def read_cifar10(path: Path, *, verify: bool = True) -> CifarArrays:
    """50,000 training and 10,000 test images of ``cifar-10-binary.tar.gz`` or ``cifar-10-python.tar.gz``.

    ``path`` is the archive, its extracted folder, or a folder that holds either. ``verify`` demands
    the official content (MD5 or SHA-1) and of the binary version the official lengths, too: only a pickle says itself
    how many rows it has, so that one with fewer cannot be a file cut short. Raises DataError.
    """
    return _read_arrays(path, CIFAR10, verify)


def read_cifar100(path: Path, *, verify: bool = True) -> CifarArrays:
    """Like ``read_cifar10``, for CIFAR-100 and its 100 fine classes; ``verify`` demands no content, only lengths."""
    return _read_arrays(path, CIFAR100, verify)


def cifar10_test(path: Path, *, verify: bool = True) -> LabelledData:
    """The 10,000 test images of CIFAR-10, already decoded, as ``test_batch/00017``."""
    return cifar_test(path, CIFAR10, verify=verify)


def cifar_test(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """The test set of either kind; reads no more of the archive than it needs. Raises DataError."""
    return _labelled(path, kind, "test", kind.test, verify)


def cifar_train(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """The training set of either kind, like ``cifar_test``."""
    return _labelled(path, kind, "train", kind.train, verify)


def detect_cifar(path: Path, classes: int = CIFAR10.classes) -> CifarFormat | None:
    """Which of the two sets lies at ``path`` (see ``read_cifar10``), or None. Reads names only.

    Where both do, as in torchvision's root, it is the one of so many ``classes``.
    """
    for kind in sorted((CIFAR10, CIFAR100), key=lambda kind: kind.classes != classes):
        if path.is_dir():
            if _locate(path, kind) is not None:
                return kind
        elif path.is_file() and _is_archive_of(path, kind):
            return kind
    return None


def _labelled(
    path: Path, kind: CifarFormat, split: str, files: Mapping[str, int], verify: bool
) -> LabelledData:
    """Every image of ``files`` as an item called ``data_batch_1/00017``."""
    parts, official = _read_parts(path, kind, files, verify)
    items = [
        Item(path=f"{name.removesuffix('.bin')}/{k:05d}", source=image, label=int(label))
        for name in files
        for k, (image, label) in enumerate(zip(*parts[name], strict=True))
    ]
    name = f"{kind.name} {split}"
    if verify and not official:
        name += f" ({len(items):,} images of files that are not the official ones)"
    return LabelledData(name=name, items=items, classes=kind.classes)


def _read_arrays(path: Path, kind: CifarFormat, verify: bool) -> CifarArrays:
    parts, _ = _read_parts(path, kind, {**kind.train, **kind.test}, verify)
    train_images, train_labels = _joined([parts[name] for name in kind.train])
    test_images, test_labels = _joined([parts[name] for name in kind.test])
    return CifarArrays(train_images, train_labels, test_images, test_labels)


def _joined(parts: list[Part]) -> Part:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _read_parts(
    path: Path, kind: CifarFormat, files: Mapping[str, int], verify: bool
) -> tuple[dict[str, Part], bool]:
    """Images and labels by file, and whether all files are the official ones, which only ``verify`` finds out."""
    found = _locate(path, kind)
    if found is None:
        raise DataError(
            f"{path} holds no {kind.name}",
            hint=f"expected {kind.archive} or the folder {kind.folder}, or the python version: {kind.python.archive} or"
            f" {kind.python.folder}",
        )
    if found.is_dir():
        _check_names(found / kind.python.meta, kind)
    wanted = {**{name: name for name in files}, **{_pickle_name(name): name for name in files}}
    parts: dict[str, Part] = {}
    official = True
    for name, blob in _files_of_folder(found, wanted) if found.is_dir() else _files_of_archive(found, wanted):
        file = wanted[name]
        rows = blob if name == file else _unpickled(name, blob, kind)
        if verify:
            official &= _check(name, blob, rows, kind, files[file])
        parts[file] = _rows(name, rows, kind)
    if missing := files.keys() - parts.keys():
        raise DataError(
            f"{found} lacks {', '.join(sorted(missing))}", hint=_again(kind)
        )
    return parts, official


def _check_names(meta: Path, kind: CifarFormat) -> None:
    """Raise DataError where the file of class names beside the python version names other classes."""
    try:
        value = load_pickle(io.BytesIO(meta.read_bytes()), arrays=True, limit=MAX_FILE_BYTES).value
        fields = {key.decode() if isinstance(key, bytes) else key: names for key, names in value.items()}
        names = [name.decode() if isinstance(name, bytes) else name for name in fields[kind.python.names]]
    except (OSError, WeightsError, AttributeError, KeyError, TypeError, ValueError):
        return                                     # none is there, or of another making: the images count
    for index, (name, official) in enumerate(zip(names, read_labels(kind.name).names, strict=False)):
        if str(name).replace("_", " ") != official.replace("_", " "):
            raise DataError(
                f"{meta} names other classes than {kind.name}: {index} is {name!r}, not {official!r}",
                hint="make class folders of the images to use them",
            )


def _pickle_name(name: str) -> str:
    return name.removesuffix(".bin")


def _locate(path: Path, kind: CifarFormat) -> Path | None:
    """The archive or the folder with the files: ``path`` itself or directly inside it; rather the binary version."""
    if path.is_file():
        return path
    any_file = next(iter(kind.test))
    for folder in (path, path / kind.folder):
        # "test.bin" alone is too common a name to say CIFAR-100.
        if (folder / any_file).is_file() and any((folder / name).is_file() for name in kind.train):
            return folder
    for folder in (path, path / kind.python.folder):
        named = folder.name == kind.python.folder or (folder / kind.python.meta).is_file()
        if named and (folder / _pickle_name(any_file)).is_file():
            return folder
    archives = (path / name for name in (kind.archive, kind.python.archive))
    return next((archive for archive in archives if archive.is_file()), None)


def _is_archive_of(path: Path, kind: CifarFormat) -> bool:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                # The official archives hold one folder, so that the first file decides.
                if member.isfile():
                    return Path(member.name).parent.name in (kind.folder, kind.python.folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        return False
    return False


def _files_of_folder(folder: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Every file of ``wanted`` (name -> the file it stands for) that is there, of one version."""
    left = set(wanted.values())
    for name, file in wanted.items():
        if file not in left or not (folder / name).is_file():
            continue
        try:
            yield name, _bounded(name, (folder / name).stat().st_size, (folder / name).read_bytes)
        except OSError as error:
            raise DataError(f"cannot read {folder / name}: {error.strerror}") from error
        left.discard(file)


def _files_of_archive(path: Path, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """One pass without seeking back; ends as soon as all are found."""
    left = set(wanted.values())
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = Path(member.name).name
                stream = archive.extractfile(member) if member.isfile() and wanted.get(name) in left else None
                if stream is not None:
                    yield name, _bounded(name, member.size, stream.read)
                    left.discard(wanted[name])
                    if not left:
                        return
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(
            f"{path} is no readable tar archive: {error}", hint="it may be cut short; fetch it again"
        ) from error


def _bounded(name: str, size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{name} has {size:,} bytes, more than any file of CIFAR", hint="fetch the archive again")
    return read()


def _unpickled(name: str, data: bytes, kind: CifarFormat) -> bytes:
    """A file of the python version -> the same rows as the binary version has them. Raises DataError."""
    try:
        batch = load_pickle(io.BytesIO(data), arrays=True, limit=MAX_FILE_BYTES).value
        fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        pixels, labels = fields["data"].values, fields[kind.python.labels]
        labels = labels.values.tolist() if isinstance(labels, StoredArray) else labels
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXEL_BYTES):
            raise ValueError(f"it holds {pixels.dtype} {list(pixels.shape)} and {len(labels)} labels")
        if not all(type(label) is int and 0 <= label < kind.classes for label in labels):
            raise ValueError(f"its labels are not numbers from 0 to {kind.classes - 1}")
    except WeightsError as error:
        raise DataError(f"{name}: {error.message}", f"nothing of it was run; {_again(kind)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{name} is no file of {kind.name}'s python version: {error}", hint=_again(kind)) from error
    columns = np.zeros((len(labels), kind.label_bytes), np.uint8)
    columns[:, -1] = labels
    return np.concatenate([columns, pixels], axis=1).tobytes()


def _check(name: str, blob: bytes, rows: bytes, kind: CifarFormat, count: int) -> bool:
    """Whether a file is an official one. Raises DataError where it claims to be and is not.

    ``rows`` are its rows as the binary version has them: of that, the file itself. Official are ``count`` rows.
    """
    if hashlib.md5(blob, usedforsecurity=False).hexdigest() == kind.python.md5.get(name):
        return True
    length = count * (kind.label_bytes + PIXEL_BYTES)
    if len(rows) != length:
        if rows is not blob:                       # a pickle that is complete: another set
            return False
        raise DataError(
            f"{name} has {len(blob):,} bytes, the official file {length:,}",
            hint=f"it is cut short or another set; {_again(kind)}",
        )
    expected = kind.sha1.get(f"{_pickle_name(name)}.bin", "")
    if expected and (found := hashlib.sha1(rows, usedforsecurity=False).hexdigest()) != expected:
        raise DataError(
            f"{name} differs from the official file",
            hint=f"its SHA-1 is {found}, expected {expected}; {_again(kind)}",
        )
    return rows is blob or bool(expected)


def _again(kind: CifarFormat) -> str:
    return f"fetch {kind.archive} again"


def _rows(name: str, blob: bytes, kind: CifarFormat) -> Part:
    """Rows -> (RGB uint8 [N, 32, 32, 3], labels int64 [N])."""
    width = kind.label_bytes + PIXEL_BYTES
    if not blob or len(blob) % width:
        raise DataError(
            f"{name} has {len(blob):,} bytes, which is no whole number of {width:,}-byte rows",
            hint=f"it is cut short or no {kind.name} file; {_again(kind)}",
        )
    rows = np.frombuffer(blob, np.uint8).reshape(-1, width)
    labels = rows[:, kind.label_bytes - 1].astype(np.int64)
    if labels.max() >= kind.classes:
        raise DataError(f"{name} has a label {labels.max()}, {kind.name} has {kind.classes} classes")
    planes = rows[:, kind.label_bytes :].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
