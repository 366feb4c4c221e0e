"""Training and validation sets: ``ROOT/train`` and ``ROOT/val``, each with one folder a class, decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.datasets import decoded_cache
from wideresnet.datasets.copies import notes_on_shared
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.layout import SPLIT_NAMES, Layout, class_folders, find_layout, list_folder, name_list, roles_of
from wideresnet.datasets.orientation import orientation_notes
from wideresnet.datasets.text import nfc
from wideresnet.errors import DataError
from wideresnet.images.files import describe_skipped
from wideresnet.records import Exif, Failure, Labels, Preprocess, Progress, Skipped

_EXPECTED_SPLITS = "expected ROOT/train/CLASS/image.jpg and ROOT/val/CLASS/image.jpg, with the same classes in both"


@dataclass(frozen=True, eq=False)
class FolderArrays:
    """The decoded images of both sets, in memory or mapped from files.

    Images are RGB uint8 [N, S, S, 3], where each set has its own S; labels are int64 [N]. ``failures`` are the images
    that could not be read: they are in neither set.
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
    """A training and a validation set with the same classes, not decoded yet."""

    name: str
    labels: Labels
    train: LabelledData
    val: LabelledData
    divided: bool = False                          # divided here, not by the user
    test: Path | None = None                       # a test split that is in neither set

    @property
    def skipped(self) -> Skipped:
        """The files skipped in the folders of both sets."""
        return self.train.skipped + self.val.skipped


def read_splits(
    root: Path, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Progress, None, FolderArrays]:
    """Decode the splits of ``root``, each with its own preprocessing; EXIF orientation is ignored, and a note says so.

    Raises the errors of ``find_split`` and ``decode_split``.
    """
    split = find_split(root)
    if split.test:
        split = with_note(split, f"left out {split.test}: 'wrn evaluate {split.test}' measures a model on it")
    split = with_note(split, *notes_on_shared(split.train, split.val), *orientation_notes(split.train))
    return (yield from decode_split(split, train, val, threads, cache))


def find_split(root: Path) -> Split:
    """Return the splits of ``root`` (see ``datasets.layout``); the classes are the folders of the training split.

    A test split is the validation set where there is no other, else ``Split.test``. Raises DataError where one of the
    sets is missing, and where the validation set has a class that the training set lacks.
    """
    return with_warnings(split_of(find_layout(root), root))


def split_of(layout: Layout, root: Path) -> Split:
    """Return the splits of a layout; see ``find_split``."""
    splits = dict(layout.splits)
    role = "val" if "val" in splits else "test"
    if not splits:
        raise _no_splits_error(layout.root)
    for name in ("train", "val"):
        if name not in splits and (name == "train" or role not in splits):
            raise DataError(f"{root} has no folder {name!r}", hint=f"{_EXPECTED_SPLITS}; {SPLIT_NAMES}")
    train_folders, val_folders = (class_folders(splits[name]) for name in ("train", role))
    unknown = sorted(name for name in val_folders if nfc(name) not in set(map(nfc, train_folders)))
    if unknown:
        raise DataError(
            f"{splits[role] / unknown[0]} is of no class in {splits['train']}, which holds {name_list(train_folders)}",
            hint=_EXPECTED_SPLITS,
        )
    labels = class_labels(train_folders)
    train, val = (replace(labelled_folder(splits[name], labels), name=name) for name in ("train", role))
    notes = []
    if role == "test":
        notes.append(f"{splits['test']} is the validation set: there is no other")
    if absent := sorted(name for name in train_folders if nfc(name) not in set(map(nfc, val_folders))):
        notes.append(f"{splits[role]} has no folder for {name_list(absent)}")
    val = replace(val, skipped=val.skipped + layout.skipped + Skipped(notes=tuple(notes)))
    return Split(root.absolute().name, labels, train, val, test=splits.get("test") if role == "val" else None)


def _no_splits_error(root: Path) -> DataError:
    """Return the error that a folder holds no splits, with its content and the folder in it that does."""
    content = list_folder(root)
    candidates = [name for name in content.folders if "train" in roles_of(list_folder(root / name).folders)]
    count = len(content.images)
    contents = [name_list(content.folders), f"{count:,} image{'s' if count != 1 else ''}" if count else ""]
    hint = f"give {root / candidates[0]}" if candidates else f"{_EXPECTED_SPLITS}; {SPLIT_NAMES}"
    return DataError(f"{root} holds no splits: {' beside '.join(filter(None, contents)) or 'nothing'}", hint)


def with_note(split: Split, *notes: str) -> Split:
    """Return the split with more sentences in its notes."""
    return replace(split, val=replace(split.val, skipped=split.val.skipped + Skipped(notes=notes)))


def with_warnings(split: Split) -> Split:
    """Return the split with notes on class names that are nearly equal and on a training set smaller than the other."""
    names, notes = split.labels.ids or split.labels.names, []
    spellings = [" ".join(name.split()).casefold() for name in names]
    counts = Counter(spellings)
    if similar := sorted(name for name, spelling in zip(names, spellings, strict=True) if counts[spelling] > 1):
        notes.append(f"{split.name} has {name_list(similar)}: classes of their own that differ in case or blanks only")
    if (train := len(split.train.items)) < (val := len(split.val.items)):
        notes.append(f"{train:,} training images, fewer than the {val:,} for validation")
    return with_note(split, *notes)


def with_exif(split: Split, exif: Exif) -> Split:
    """Return the split with photographs turned upright, or not."""
    return replace(split, train=replace(split.train, exif=exif), val=replace(split.val, exif=exif))


def decode_split(
    split: Split, train: Preprocess, val: Preprocess, threads: int, cache: Path | None = None
) -> Generator[Progress, None, FolderArrays]:
    """Decode both sets, each with its own preprocessing, into memory or into ``cache``.

    Raises DataError where they are too large for the memory or the disk, where the cache cannot be written, and for a
    class without a readable training image.
    """
    if cache:
        train_store = decoded_cache.open_store(cache, f"{split.name}-train", split.train, train)
        val_store = decoded_cache.open_store(cache, f"{split.name}-val", split.val, val)
        decoded_cache.check_disk_space(cache, (train_store, val_store))
        train_images = yield from decoded_cache.decode_onto_disk(train_store, threads)
        val_images = yield from decoded_cache.decode_onto_disk(val_store, threads)
    else:
        train_images = yield from decoded_cache.decode_into_memory(split.train, train, threads)
        val_images = yield from decoded_cache.decode_into_memory(split.val, val, threads)
    check_classes_learnt(split, train_images.labels)
    return FolderArrays(
        name=split.name,
        labels=split.labels,
        train_images=train_images.images,
        train_labels=train_images.labels,
        val_images=val_images.images,
        val_labels=val_images.labels,
        failures=train_images.failures + val_images.failures,
        skipped=split.skipped,
    )


def check_classes_learnt(split: Split, classes: Iterable[int]) -> None:
    """Raise DataError for a class that is not among ``classes``, those of the readable training images."""
    empty = sorted(set(range(len(split.labels.names))) - set(classes))
    if empty:
        name = (split.labels.ids or split.labels.names)[empty[0]]
        problem = f"the class {name!r} of {split.name} has no readable training image"
        raise DataError(problem, hint=describe_skipped(split.train.skipped, split.name))


def check_two_classes(labels: Labels, root: Path) -> None:
    """Raise DataError for fewer than two classes: nothing could be learnt."""
    if len(labels.names) < 2:
        raise DataError(f"{root} holds one class only, {labels.names[0]!r}", hint="give at least two classes")


def class_labels(folders: list[str]) -> Labels:
    """Return labels for folder names, in their order: names of ImageNet's classes where all folders are their ids.

    Accents are composed. Raises DataError where two names differ in that alone.
    """
    names = list(map(nfc, folders))
    if duplicate := next((name for name, count in Counter(names).items() if count > 1), None):
        raise DataError(f"two class folders are called {duplicate!r}, with accents composed and not", hint="merge them")
    imagenet = read_labels("imagenet")
    name_of = dict(zip(imagenet.ids, imagenet.names, strict=True))
    if all(id_ in name_of for id_ in names):
        return Labels(tuple(name_of[id_] for id_ in names), tuple(names))
    return Labels(tuple(names))
