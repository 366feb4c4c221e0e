"""Pictures to train on: ``ROOT/train`` and ``ROOT/val``, each with one folder a class, decoded into memory once."""

from __future__ import annotations

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


def read_splits(root: Path, train: Preprocess, val: Preprocess, threads: int) -> FolderArrays:
    """Every picture of ``root``, those of each part through its own preprocess; EXIF orientation is ignored.

    The classes are the folder names of ``train``, sorted. Raises DataError when a part is missing or too large for
    the memory, when ``val`` has a class that ``train`` hasn't, and for a class without a picture that can be read.
    """
    folders, tested = (_class_folders(root, part) for part in PARTS)
    unknown = sorted(set(tested) - set(folders))
    if unknown:
        raise DataError(f"{root / 'val' / unknown[0]} is of no class in {root / 'train'}", hint=_EXPECTED)
    names = Labels(tuple(folders))
    learnt = _decoded(labelled_folder(root / "train", names), train, threads)
    checked = _decoded(labelled_folder(root / "val", names), val, threads)
    empty = sorted(set(range(len(folders))) - set(learnt.labels.tolist()))
    if empty:
        raise DataError(f"{root / 'train' / folders[empty[0]]} holds no picture that can be read")
    return FolderArrays(
        name=root.absolute().name,
        labels=class_labels(folders),
        train_images=learnt.images,
        train_labels=learnt.labels,
        val_images=checked.images,
        val_labels=checked.labels,
        failures=learnt.failures + checked.failures,
    )


def _class_folders(root: Path, part: str) -> list[str]:
    folder = root / part
    if not folder.is_dir():
        raise DataError(f"{root} has no folder {part!r}", hint=_EXPECTED)
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


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
