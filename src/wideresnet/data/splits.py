"""Pictures to train on: ``ROOT/train`` and ``ROOT/val``, each with one folder a class, decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.data.decoded import Decoded, decode_into_memory, decode_onto_disk, refuse_small_disk, store_of
from wideresnet.data.folder import labelled_folder
from wideresnet.data.labelled import LabelledData
from wideresnet.data.labels import read_labels
from wideresnet.data.text import nfc
from wideresnet.errors import DataError
from wideresnet.records import Doing, Exif, Failure, Labels, Preprocess

PARTS = ("train", "val")
_EXPECTED = "expected ROOT/train/CLASS/picture.jpg and ROOT/val/CLASS/picture.jpg, with the same classes in both"


@dataclass(frozen=True, eq=False)
class FolderArrays:
    """Both parts, in memory or mapped from files. Images: RGB uint8 [N, S, S, 3], S of their own in each part.

    Labels: int64 [N].
    ``failures`` are the pictures that could not be read: they are in neither part.
    """

    name: str
    labels: Labels
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, eq=False)
class Split:
    """Which pictures are learnt from and which judge what was learnt, not decoded yet; both know the same classes."""

    name: str
    labels: Labels
    train: LabelledData
    val: LabelledData
    divided: bool = False                          # made from one set of class folders, not found


def read_splits(
    root: Path, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Doing, None, FolderArrays]:
    """Every picture of ``root``, those of each part through its own preprocess; EXIF orientation is ignored.

    Raises what ``find_split`` and ``decode_split`` do.
    """
    return (yield from decode_split(find_split(root), train, val, threads, cache))


def find_split(root: Path) -> Split:
    """The pictures of ``root``; the classes are the folder names of ``train``, sorted.

    Raises DataError when a part is missing, and when ``val`` has a class that ``train`` hasn't.
    """
    folders, tested = (class_folders(root / part, _EXPECTED) for part in PARTS)
    unknown = sorted(name for name in tested if nfc(name) not in map(nfc, folders))
    if unknown:
        raise DataError(f"{root / 'val' / unknown[0]} is of no class in {root / 'train'}", hint=_EXPECTED)
    labels = class_labels(folders)
    train, val = (labelled_folder(root / part, labels) for part in PARTS)
    return Split(root.absolute().name, labels, train, val)


def seen_with(split: Split, exif: Exif) -> Split:
    """The same pictures, photographs turned upright or not."""
    return replace(split, train=replace(split.train, exif=exif), val=replace(split.val, exif=exif))


def decode_split(
    split: Split, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Doing, None, FolderArrays]:
    """Both parts, each through its own preprocess. Kept in memory, or in ``cache``.

    Raises DataError when they are too large for the memory or the disk, when they cannot be kept there, and for a class
    without a picture that can be read.
    """
    if cache:
        learnt, checked = yield from _from_disk(split, train, val, threads, cache)
    else:
        learnt = yield from decode_into_memory(split.train, train, threads)
        checked = yield from decode_into_memory(split.val, val, threads)
    refuse_empty(split, learnt.labels)
    return FolderArrays(
        name=split.name,
        labels=split.labels,
        train_images=learnt.images,
        train_labels=learnt.labels,
        val_images=checked.images,
        val_labels=checked.labels,
        failures=learnt.failures + checked.failures,
    )


def _from_disk(
    split: Split, train: Preprocess, val: Preprocess, threads: int, cache: Path
) -> Generator[Doing, None, tuple[Decoded, Decoded]]:
    learnt = store_of(cache, f"{split.name}-train", split.train, train)
    checked = store_of(cache, f"{split.name}-val", split.val, val)
    refuse_small_disk(cache, (learnt, checked))
    return (yield from decode_onto_disk(learnt, threads)), (yield from decode_onto_disk(checked, threads))


def refuse_empty(split: Split, learnt: Iterable[int]) -> None:
    """Raise DataError for a class that is not among ``learnt``, the classes of the pictures that could be read."""
    empty = sorted(set(range(len(split.labels.names))) - set(learnt))
    if empty:
        name = (split.labels.ids or split.labels.names)[empty[0]]
        raise DataError(f"the class {name!r} of {split.name} has no picture to learn from that can be read")


def class_folders(root: Path, expected: str) -> list[str]:
    """The names of the folders in ``root``, sorted. Raises DataError with ``expected`` as its hint."""
    if not root.is_dir():
        raise DataError(f"{root.parent} has no folder {root.name!r}", hint=expected)
    names = (path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(names, key=nfc)


def class_labels(folders: list[str]) -> Labels:
    """Folder names -> labels in the same order: ImageNet's ids with their names, if all are such, else the names.

    Accents are composed. Raises DataError where two names differ in that alone.
    """
    names = list(map(nfc, folders))
    if double := next((name for name, times in Counter(names).items() if times > 1), None):
        raise DataError(f"two class folders are called {double!r}, with accents composed and not", hint="merge them")
    imagenet = read_labels("imagenet")
    known = dict(zip(imagenet.ids, imagenet.names, strict=True))
    if all(name in known for name in names):
        return Labels(tuple(known[name] for name in names), tuple(names))
    return Labels(tuple(names))
