"""Images to train on: ``ROOT/train`` and ``ROOT/val``, each with one folder a class, decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets.decoded_cache import Decoded, decode_into_memory, decode_onto_disk, refuse_small_disk, store_of
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.layout import KNOWN, Layout, class_folders, find_layout, list_folder, listed, roles_of
from wideresnet.datasets.text import nfc
from wideresnet.errors import DataError
from wideresnet.images.files import describe_skipped
from wideresnet.records import Exif, Failure, Labels, Preprocess, Progress, Skipped

_EXPECTED = "expected ROOT/train/CLASS/image.jpg and ROOT/val/CLASS/image.jpg, with the same classes in both"


@dataclass(frozen=True, eq=False)
class FolderArrays:
    """Both parts, in memory or mapped from files. Images: RGB uint8 [N, S, S, 3], S of their own in each part.

    Labels: int64 [N].
    ``failures`` are the images that could not be read: they are in neither part.
    """

    name: str
    labels: Labels
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.uint8]
    val_labels: NDArray[np.int64]
    failures: tuple[Failure, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)


@dataclass(frozen=True, eq=False)
class Split:
    """Which images are learnt from and which judge what was learnt, not decoded yet; both know the same classes."""

    name: str
    labels: Labels
    train: LabelledData
    val: LabelledData
    divided: bool = False                          # made from one set of class folders, not found
    test: Path | None = None                       # a split that is there and takes no part

    @property
    def skipped(self) -> Skipped:
        """What was passed over in the folders of both."""
        return self.train.skipped + self.val.skipped


def read_splits(
    root: Path, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Progress, None, FolderArrays]:
    """Every image of ``root``, those of each part through its own preprocess; EXIF orientation is ignored.

    Raises what ``find_split`` and ``decode_split`` do.
    """
    split = find_split(root)
    if split.test:
        split = with_note(split, f"left out {split.test}: 'wrn evaluate {split.test}' measures a model on it")
    return (yield from decode_split(split, train, val, threads, cache))


def find_split(root: Path) -> Split:
    """The images of ``root``'s splits (see ``data.layout``); the classes are the folder names in the training split.

    A test split is the validation set where there is no other, else ``Split.test``. Raises DataError when one is
    missing, and when the validation set has a class that is not learnt.
    """
    return split_of(find_layout(root), root)


def split_of(layout: Layout, root: Path) -> Split:
    """``find_split`` of a layout that is known."""
    splits = dict(layout.splits)
    role = "val" if "val" in splits else "test"
    if not splits:
        raise _no_splits(layout.root)
    for part in ("train", "val"):
        if part not in splits and (part == "train" or role not in splits):
            raise DataError(f"{root} has no folder {part!r}", hint=f"{_EXPECTED}; {KNOWN}")
    folders, tested = (class_folders(splits[part]) for part in ("train", role))
    unknown = sorted(name for name in tested if nfc(name) not in set(map(nfc, folders)))
    if unknown:
        raise DataError(
            f"{splits[role] / unknown[0]} is of no class in {splits['train']}, which holds {listed(folders)}",
            hint=_EXPECTED,
        )
    labels = class_labels(folders)
    train, val = (replace(labelled_folder(splits[part], labels), name=part) for part in ("train", role))
    notes = []
    if role == "test":
        notes.append(f"{splits['test']} is the validation set: there is no other")
    if untested := sorted(name for name in folders if nfc(name) not in set(map(nfc, tested))):
        notes.append(f"{splits[role]} has no folder for {listed(untested)}")
    val = replace(val, skipped=val.skipped + layout.skipped + Skipped(notes=tuple(notes)))
    return Split(root.absolute().name, labels, train, val, test=splits.get("test") if role == "val" else None)


def _no_splits(root: Path) -> DataError:
    """The error that a folder holds no splits: what it holds, and which folder in it does."""
    content = list_folder(root)
    around = [name for name in content.folders if "train" in roles_of(list_folder(root / name).folders)]
    count = len(content.images)
    held = [listed(content.folders), f"{count:,} image{'s' if count != 1 else ''}" if count else ""]
    hint = f"give {root / around[0]}" if around else f"{_EXPECTED}; {KNOWN}"
    return DataError(f"{root} holds no splits: {' beside '.join(filter(None, held))}", hint)


def with_note(split: Split, note: str) -> Split:
    """The same split with a sentence more on what was left out."""
    return replace(split, val=replace(split.val, skipped=split.val.skipped + Skipped(notes=(note,))))


def seen_with(split: Split, exif: Exif) -> Split:
    """The same images, photographs turned upright or not."""
    return replace(split, train=replace(split.train, exif=exif), val=replace(split.val, exif=exif))


def decode_split(
    split: Split, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Progress, None, FolderArrays]:
    """Both parts, each through its own preprocess. Kept in memory, or in ``cache``.

    Raises DataError when they are too large for the memory or the disk, when they cannot be kept there, and for a class
    without an image that can be read.
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
        skipped=split.skipped,
    )


def _from_disk(
    split: Split, train: Preprocess, val: Preprocess, threads: int, cache: Path
) -> Generator[Progress, None, tuple[Decoded, Decoded]]:
    learnt = store_of(cache, f"{split.name}-train", split.train, train)
    checked = store_of(cache, f"{split.name}-val", split.val, val)
    refuse_small_disk(cache, (learnt, checked))
    return (yield from decode_onto_disk(learnt, threads)), (yield from decode_onto_disk(checked, threads))


def refuse_empty(split: Split, learnt: Iterable[int]) -> None:
    """Raise DataError for a class that is not among ``learnt``, the classes of the images that could be read."""
    empty = sorted(set(range(len(split.labels.names))) - set(learnt))
    if empty:
        name = (split.labels.ids or split.labels.names)[empty[0]]
        raise DataError(
            f"the class {name!r} of {split.name} has no image to learn from that can be read",
            hint=describe_skipped(split.train.skipped, split.name),
        )


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
