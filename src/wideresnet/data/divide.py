"""Class folders as a person has them -> pictures to learn from and pictures to judge by."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.data.folder import labelled_folder
from wideresnet.data.labelled import LabelledData
from wideresnet.data.labels import format_labels
from wideresnet.data.splits import PARTS, Split, class_folders, class_labels, find_split, refuse_empty
from wideresnet.errors import DataError
from wideresnet.records import Item, Labels
from wideresnet.report.escape import cell_text
from wideresnet.report.sheet import csv_line

_EXPECTED = "expected ROOT/CLASS/picture.jpg, or ROOT/train/CLASS/picture.jpg and ROOT/val/CLASS/picture.jpg"


def open_split(root: Path, share: float, seed: int) -> Split:
    """The split in ``root`` where it has train/ and val/; else its class folders, divided.

    ``share`` of each class judges: at least one picture where a class has two or more, and never all of them. Which
    ones, its name and the seed decide, so that a picture more or less moves no other. Raises DataError for less than
    two classes, a class without a picture, none to judge by, and a name that cannot be a label.
    """
    whole = all((root / part).is_dir() for part in PARTS)
    split = find_split(root) if whole else _divided(root, share, seed)
    format_labels(split.labels)                    # what cannot be written at the end is refused now
    if len(split.labels.names) < 2:
        raise DataError(f"{root} holds one class only, {split.labels.names[0]!r}", hint="two are needed to tell apart")
    refuse_empty(split, split.train.present)
    if not split.val.items:
        raise DataError(f"every class of {root} has one picture only: none is left to judge by", hint=_EXPECTED)
    return split


def index_of(data: LabelledData, labels: Labels) -> str:
    """``data`` as an index (CSV) with paths from the root, for whoever reads it again with these labels."""
    names = labels.ids or labels.names             # an index could be another class's name
    rows = ((cell_text(str(Path(item.path).absolute())), names[item.label or 0]) for item in data.items)
    return "".join(map(csv_line, (("path", "label"), *rows)))


def _divided(root: Path, share: float, seed: int) -> Split:
    folders = class_folders(root, _EXPECTED)
    if folders == ["train"]:
        return replace(_divided(root / "train", share, seed), name=root.absolute().name)
    if not folders:
        raise DataError(f"{root} holds no class folders", hint=_EXPECTED)
    labels = class_labels(folders)
    whole = labelled_folder(root, labels)
    judges = set(map(id, judging(whole.items, share, seed)))
    train = replace(whole, name="train", items=[item for item in whole.items if id(item) not in judges])
    val = replace(whole, name="val", items=[item for item in whole.items if id(item) in judges])
    return Split(whole.name, labels, train, val, divided=True)


def judging(items: Sequence[Item], share: float, seed: int) -> list[Item]:
    """The ``share`` of ``items`` of each class that judges; see ``open_split``."""
    classes: defaultdict[int | None, list[Item]] = defaultdict(list)
    for item in items:
        classes[item.label].append(item)
    chosen: list[Item] = []
    for group in classes.values():
        count = min(max(1, round(share * len(group))), len(group) - 1)
        chosen += sorted(group, key=lambda item: _lot(item, seed))[:count]
    return chosen


def _lot(item: Item, seed: int) -> bytes:
    path = Path(item.path)
    named = f"{seed}/{path.parent.name}/{path.name}"
    return hashlib.sha256(named.encode("utf-8", "surrogateescape")).digest()
