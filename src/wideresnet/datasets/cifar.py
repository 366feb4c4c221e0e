"""CIFAR-10 and CIFAR-100, read from the archives of their authors.

A file of the binary version is rows of ``label byte(s), 1024 red, 1024 green, 1024 blue``; a row is a 32x32 image
(https://www.cs.toronto.edu/~kriz/cifar.html). A file of the python version, which torchvision uses, is a pickle of the
same rows: it is read by ``unpickle``, which executes nothing, and converted to the binary version.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.tar import open_tar
from wideresnet.errors import DataError, WeightsError, errors_as, os_errors_as
from wideresnet.records import Item
from wideresnet.unpickle import load_pickle
from wideresnet.unpickle.arrays import StoredArray

SIDE = 32                                          # pixels
PIXEL_BYTES = 3 * SIDE * SIDE
MAX_FILE_BYTES = 400 * 2**20                       # of a file of either version; the largest pickle has 154 MB
FileArrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images and labels of a file


@dataclass(frozen=True)
class PythonFormat:
    """The python version of a set. Its files have the names of the binary ones without ``.bin``."""

    folder: str
    archive: str
    meta: str                                      # a file beside the others
    labels: str                                    # the key of the labels
    names: str                                     # the key of the class names in ``meta``
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
    """A complete set in memory. Images: RGB uint8 [N, 32, 32, 3]. Labels: int64 [N]."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def read_cifar10(path: Path, *, verify: bool = True) -> CifarArrays:
    """Read 50,000 training and 10,000 test images of ``cifar-10-binary.tar.gz`` or ``cifar-10-python.tar.gz``.

    ``path`` is the archive, its extracted folder, or a folder that holds either. ``verify`` requires the official
    content (MD5 or SHA-1), and of the binary version the official lengths too: a pickle states how many rows it has, so
    that one with fewer rows is a subset and not a file cut short. Raises DataError.
    """
    return _read_arrays(path, CIFAR10, verify)


def read_cifar100(path: Path, *, verify: bool = True) -> CifarArrays:
    """Read CIFAR-100 with its 100 fine classes, like ``read_cifar10``; ``verify`` requires lengths, not content."""
    return _read_arrays(path, CIFAR100, verify)


def cifar_test(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """Return the test images of either data set, decoded, with names such as ``test_batch/00017``. Raises DataError.

    No more of the archive is read than necessary.
    """
    return _labelled(path, kind, "test", kind.test, verify)


def cifar_train(path: Path, kind: CifarFormat, *, verify: bool = True) -> LabelledData:
    """Return the training set of either data set, like ``cifar_test``."""
    return _labelled(path, kind, "train", kind.train, verify)


def detect_cifar(path: Path, classes: int = CIFAR10.classes) -> CifarFormat | None:
    """Return the data set at ``path`` (see ``read_cifar10``), or None. Reads names only.

    Where both are there, as in torchvision's root, it is the one with ``classes`` classes.
    """
    for kind in sorted((CIFAR10, CIFAR100), key=lambda kind: kind.classes != classes):
        if path.is_dir():
            if _locate(path, kind) is not None:
                return kind
        elif path.is_file() and _is_archive_of(path, kind):
            return kind
    return None


def _labelled(path: Path, kind: CifarFormat, split: str, files: Mapping[str, int], verify: bool) -> LabelledData:
    """Return every image of ``files`` as an item with a name such as ``data_batch_1/00017``."""
    arrays, official = _read_files(path, kind, files, verify)
    items = [
        Item(path=f"{name.removesuffix('.bin')}/{k:05d}", source=image, label=int(label))
        for name in files
        for k, (image, label) in enumerate(zip(*arrays[name], strict=True))
    ]
    name = f"{kind.name} {split}"
    if verify and not official:
        name += f" ({len(items):,} images of files that are not the official ones)"
    return LabelledData(name=name, items=items, classes=kind.classes)


def _read_arrays(path: Path, kind: CifarFormat, verify: bool) -> CifarArrays:
    arrays, _ = _read_files(path, kind, {**kind.train, **kind.test}, verify)
    train_images, train_labels = concatenate([arrays[name] for name in kind.train])
    test_images, test_labels = concatenate([arrays[name] for name in kind.test])
    return CifarArrays(train_images, train_labels, test_images, test_labels)


def concatenate(arrays: Sequence[FileArrays]) -> FileArrays:
    """Return the images and labels of several files as one array each."""
    return np.concatenate([images for images, _ in arrays]), np.concatenate([labels for _, labels in arrays])


def _read_files(
    path: Path, kind: CifarFormat, files: Mapping[str, int], verify: bool
) -> tuple[dict[str, FileArrays], bool]:
    """Return images and labels by file, and whether all files are official (only checked with ``verify``)."""
    location = _locate(path, kind)
    if location is None:
        raise DataError(
            f"{path} holds no {kind.name}",
            hint=f"expected {kind.archive} or the folder {kind.folder}, or the python version: {kind.python.archive} or"
            f" {kind.python.folder}",
        )
    if location.is_dir():
        _check_names(location / kind.python.meta, kind)
    # Names in either version -> the name in the binary version.
    binary_names = {**{name: name for name in files}, **{name.removesuffix(".bin"): name for name in files}}
    arrays: dict[str, FileArrays] = {}
    official = True
    read_files = _files_of_folder if location.is_dir() else _files_of_archive
    for name, content in read_files(location, binary_names):
        file = binary_names[name]
        rows = content if name == file else _unpickle_rows(name, content, kind)
        if verify:
            official &= _check_official(name, content, rows, kind, files[file])
        arrays[file] = _to_arrays(name, rows, kind)
    if missing := files.keys() - arrays.keys():
        raise DataError(f"{location} lacks {', '.join(sorted(missing))}", hint=_fetch_hint(kind))
    return arrays, official


def _check_names(meta: Path, kind: CifarFormat) -> None:
    """Raise DataError where the file of class names of the python version has other names."""
    try:
        value = load_pickle(io.BytesIO(meta.read_bytes()), arrays=True, limit=MAX_FILE_BYTES).value
        fields = {key.decode() if isinstance(key, bytes) else key: names for key, names in value.items()}
        names = [name.decode() if isinstance(name, bytes) else name for name in fields[kind.python.names]]
    except (OSError, WeightsError, AttributeError, KeyError, TypeError, ValueError):
        return                                     # missing or of another tool: the images decide
    for index, (name, official) in enumerate(zip(names, read_labels(kind.name).names, strict=False)):
        if str(name).replace("_", " ") != official.replace("_", " "):
            problem = f"{meta} names other classes than {kind.name}: {index} is {name!r}, not {official!r}"
            raise DataError(problem, hint="make class folders of the images to use them")


def _locate(path: Path, kind: CifarFormat) -> Path | None:
    """Return the archive or folder with the files, at ``path`` or directly in it; the binary version comes first."""
    if path.is_file():
        return path
    any_file = next(iter(kind.test))
    for folder in (path, path / kind.folder):
        # "test.bin" alone is too common a name to mean CIFAR-100.
        if (folder / any_file).is_file() and any((folder / name).is_file() for name in kind.train):
            return folder
    for folder in (path, path / kind.python.folder):
        is_python = folder.name == kind.python.folder or (folder / kind.python.meta).is_file()
        if is_python and (folder / any_file.removesuffix(".bin")).is_file():
            return folder
    archives = (path / name for name in (kind.archive, kind.python.archive))
    return next((archive for archive in archives if archive.is_file()), None)


def _is_archive_of(path: Path, kind: CifarFormat) -> bool:
    with suppress(DataError, OSError), open_tar(path) as archive:
        for member in archive:
            # The official archives hold one folder, so that the first file decides.
            if member.isfile():
                return Path(member.name).parent.name in (kind.folder, kind.python.folder)
    return False


def _files_of_folder(folder: Path, binary_names: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in ``folder``, of one version only."""
    missing = set(binary_names.values())
    for name, file in binary_names.items():
        if file not in missing or not (folder / name).is_file():
            continue
        with os_errors_as(DataError, f"cannot read {folder / name}"):
            yield name, _read_bounded(name, (folder / name).stat().st_size, (folder / name).read_bytes)
        missing.discard(file)


def _files_of_archive(path: Path, binary_names: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in one pass that ends with the last of them."""
    missing = set(binary_names.values())
    with os_errors_as(DataError, f"cannot read {path}"), open_tar(path) as archive:
        for member in archive:
            name = Path(member.name).name
            stream = archive.extractfile(member) if member.isfile() and binary_names.get(name) in missing else None
            if stream is not None:
                yield name, _read_bounded(name, member.size, stream.read)
                missing.discard(binary_names[name])
                if not missing:
                    return


def _read_bounded(name: str, size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{name} has {size:,} bytes, more than any file of CIFAR", hint="fetch the archive again")
    return read()


def _unpickle_rows(name: str, data: bytes, kind: CifarFormat) -> bytes:
    """Convert a file of the python version to the rows of the binary version. Raises DataError."""
    hint, damage = _fetch_hint(kind), (AttributeError, KeyError, TypeError, ValueError)
    damaged = errors_as(damage, DataError, f"{name} is not a file of {kind.name}'s python version", hint)
    with damaged, errors_as(WeightsError, DataError, name, f"nothing in it was executed; {hint}"):
        batch = load_pickle(io.BytesIO(data), arrays=True, limit=MAX_FILE_BYTES).value
        fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        pixels, labels = fields["data"].values, fields[kind.python.labels]
        labels = labels.values.tolist() if isinstance(labels, StoredArray) else labels
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXEL_BYTES):
            raise ValueError(f"it holds {pixels.dtype} {list(pixels.shape)} and {len(labels)} labels")
        if not all(type(label) is int and 0 <= label < kind.classes for label in labels):
            raise ValueError(f"its labels are not numbers from 0 to {kind.classes - 1}")
    columns = np.zeros((len(labels), kind.label_bytes), np.uint8)
    columns[:, -1] = labels
    return np.concatenate([columns, pixels], axis=1).tobytes()


def _check_official(name: str, content: bytes, rows: bytes, kind: CifarFormat, count: int) -> bool:
    """Return whether a file is the official one. Raises DataError where a binary file is damaged.

    ``rows`` are its ``content`` in the binary version. The official file has ``count`` rows.
    """
    if hashlib.md5(content, usedforsecurity=False).hexdigest() == kind.python.md5.get(name):
        return True
    length = count * (kind.label_bytes + PIXEL_BYTES)
    if len(rows) != length:
        if rows is not content:                    # a complete pickle: another set
            return False
        problem = f"{name} has {len(content):,} bytes, the official file {length:,}"
        raise DataError(problem, hint=f"it is cut short or another set; {_fetch_hint(kind)}")
    expected = kind.sha1.get(name.removesuffix(".bin") + ".bin", "")
    if expected and (sha1 := hashlib.sha1(rows, usedforsecurity=False).hexdigest()) != expected:
        problem = f"{name} differs from the official file"
        raise DataError(problem, hint=f"its SHA-1 is {sha1}, expected {expected}; {_fetch_hint(kind)}")
    return rows is content or bool(expected)


def _fetch_hint(kind: CifarFormat) -> str:
    return f"fetch {kind.archive} again"


def _to_arrays(name: str, content: bytes, kind: CifarFormat) -> FileArrays:
    """Convert rows to RGB uint8 [N, 32, 32, 3] and labels int64 [N]. Raises DataError."""
    width = kind.label_bytes + PIXEL_BYTES
    if not content or len(content) % width:
        problem = f"{name} has {len(content):,} bytes, which is not a multiple of {width:,}-byte rows"
        raise DataError(problem, hint=f"it is cut short or not a {kind.name} file; {_fetch_hint(kind)}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    labels = rows[:, kind.label_bytes - 1].astype(np.int64)
    if labels.max() >= kind.classes:
        raise DataError(f"{name} has a label {labels.max()}, {kind.name} has {kind.classes} classes")
    planes = rows[:, kind.label_bytes :].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
