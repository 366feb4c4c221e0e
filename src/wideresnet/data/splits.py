"""Pictures to train on: ``ROOT/train`` and ``ROOT/val``, each with one folder a class, decoded into memory once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.data.folder import labelled_folder
from wideresnet.data.labelled import LabelledData
from wideresnet.data.labels import read_labels
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.machine import memory_mb
from wideresnet.records import Failure, Labels, Preprocess

PARTS = ("train", "val")
_EXPECTED = "expected ROOT/train/CLASS/picture.jpg and ROOT/val/CLASS/picture.jpg, with the same classes in both"


@dataclass(frozen=True, eq=False)
class FolderArrays:
    """Both parts in memory. Images: RGB uint8 [N, S, S, 3], S of their own in each part. Labels: int64 [N].

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


def read_splits(root: Path, train: Preprocess, val: Preprocess, threads: int) -> FolderArrays:
    """Every picture of ``root``, those of each part through its own preprocess; EXIF orientation is ignored.

    Raises what ``find_split`` and ``decode_split`` do.
    """
    return decode_split(find_split(root), train, val, threads)


def find_split(root: Path) -> Split:
    """The pictures of ``root``; the classes are the folder names of ``train``, sorted.

    Raises DataError when a part is missing, and when ``val`` has a class that ``train`` hasn't.
    """
    folders, tested = (class_folders(root / part, _EXPECTED) for part in PARTS)
    unknown = sorted(set(tested) - set(folders))
    if unknown:
        raise DataError(f"{root / 'val' / unknown[0]} is of no class in {root / 'train'}", hint=_EXPECTED)
    labels = class_labels(folders)
    train, val = (labelled_folder(root / part, labels) for part in PARTS)
    return Split(root.absolute().name, labels, train, val)


def decode_split(split: Split, train: Preprocess, val: Preprocess, threads: int) -> FolderArrays:
    """Both parts in memory, each through its own preprocess; EXIF orientation is ignored.

    Raises DataError when they are too large for the memory, and for a class without a picture that can be read.
    """
    learnt = _decoded(split.train, train, threads)
    checked = _decoded(split.val, val, threads)
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
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def class_labels(folders: list[str]) -> Labels:
    """Folder names -> labels in the same order: ImageNet's ids with their names, if all are such, else the names."""
    imagenet = read_labels("imagenet")
    known = dict(zip(imagenet.ids, imagenet.names, strict=True))
    if all(folder in known for folder in folders):
        return Labels(tuple(known[folder] for folder in folders), tuple(folders))
    return Labels(tuple(folders))


@dataclass(frozen=True, eq=False)
class _Part:
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    failures: tuple[Failure, ...]


def _decoded(data: LabelledData, spec: Preprocess, threads: int) -> _Part:
    needed, there = len(data.items) * spec.crop**2 * 3 // 2**20, memory_mb()
    if there is not None and needed > there:
        raise DataError(
            f"{len(data.items):,} pictures of {spec.crop} pixels take {needed:,} MB, this machine has {there:,}",
            hint="they are kept in memory: use fewer, or a smaller 'stored'",
        )
    images = np.empty((len(data.items), spec.crop, spec.crop, 3), np.uint8)
    labels: list[int] = []
    failures: list[Failure] = []
    for batch in load_batches(data.items, spec, batch_size=64, threads=threads):
        images[len(labels) : len(labels) + len(batch.items)] = batch.pixels
        labels += [item.label for item in batch.items if item.label is not None]
        failures += batch.failures
    if not labels:
        raise DataError(f"none of the {len(failures)} pictures of {data.name} can be read", hint=failures[0].error)
    return _Part(images[: len(labels)], np.array(labels, np.int64), tuple(failures))
