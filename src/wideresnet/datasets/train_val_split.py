"""Class folders as a person has them -> images to learn from and images to judge by."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import format_labels
from wideresnet.datasets.layout import EXPECTED, class_folders, find_layout
from wideresnet.datasets.open import refuse_other_format
from wideresnet.datasets.shards import HELD_OUT, TRAIN, beside_shards, find_shards, labelled_items, read_rows
from wideresnet.datasets.splits import Split, class_labels, refuse_empty, split_of, with_note
from wideresnet.datasets.tar import Row
from wideresnet.errors import DataError
from wideresnet.output.row_format import csv_line
from wideresnet.records import Item, Labels, Skipped
from wideresnet.report.escape import cell_text


def open_split(root: Path, share: float, seed: int, test: Path | None = None) -> Split:
    """The splits of ``root`` (see ``data.layout``); else its class folders or its training split, divided.

    Shards likewise.

    ``share`` of each class judges: at least one image where a class has two or more, and never all of them. Which
    ones, its name and the seed decide, so that an image more or less moves no other. A test split is the validation
    set where there is no other, unless it is ``test``, which nothing is chosen by. Raises DataError for less than two
    classes, a class without an image, none to judge by, and a name that cannot be a label.
    """
    if find_shards(root):
        split = _of_shards(root, share, seed)
    else:
        refuse_other_format(root)
        split = _of_folders(root, share, seed, test)
    format_labels(split.labels)                    # what cannot be written at the end is refused now
    if len(split.labels.names) < 2:
        raise DataError(f"{root} holds one class only, {split.labels.names[0]!r}", hint="two are needed to tell apart")
    refuse_empty(split, split.train.present)
    if not split.val.items:
        raise DataError(f"every class of {root} has one image only: none is left to judge by", hint=EXPECTED)
    return split


def index_of(data: LabelledData, labels: Labels) -> str:
    """``data`` as an index (CSV) with paths from the root, for whoever reads it again with these labels."""
    names = labels.ids or labels.names             # an index could be another class's name
    rows = ((cell_text(str(Path(item.path).absolute())), names[item.label or 0]) for item in data.items)
    return "".join(map(csv_line, (("path", "label"), *rows)))


def _of_folders(root: Path, share: float, seed: int, test: Path | None) -> Split:
    layout = find_layout(root)
    reserved = test is not None and layout.splits.get("test", root).resolve().is_relative_to(test.resolve())
    roles = layout.splits.keys() - ({"test"} if reserved else set())
    if not layout.splits or roles == {"train"}:
        split = _divided(layout.splits.get("train", layout.root), share, seed, layout.skipped)
        return replace(split, name=root.absolute().name)
    split = split_of(layout, root)
    if split.test and not reserved:
        return with_note(split, f"left out {split.test}: --test {split.test} measures the result on it")
    return split


def _divided(root: Path, share: float, seed: int, skipped: Skipped) -> Split:
    labels = class_labels(class_folders(root))
    whole = labelled_folder(root, labels)
    return _divide(replace(whole, skipped=skipped + whole.skipped), labels, share, seed)


def _divide(whole: LabelledData, labels: Labels, share: float, seed: int) -> Split:
    judges = set(map(id, judging(whole.items, share, seed)))
    train = replace(whole, name="train", items=[item for item in whole.items if id(item) not in judges])
    val = replace(whole, name="val", items=[item for item in whole.items if id(item) in judges], skipped=Skipped())
    return Split(whole.name, labels, train, val, divided=True)


def _of_shards(root: Path, share: float, seed: int) -> Split:
    """The split that shards are named by, or those of one split, divided. Raises DataError where neither is clear.

    The classes are those that the shards list, else the labels that are there: numbers in their order, then names.
    """
    shards = find_shards(root)
    learnt = TRAIN if TRAIN in shards else ""
    held = next((split for split in HELD_OUT if split in shards), "")
    if len(shards) > 1 and (learnt not in shards or not held):
        raise DataError(
            f"{root} holds shards of {', '.join(sorted(shards))}", hint="name them train-….tar and validation-….tar"
        )
    rows, names, skipped = read_rows(list(map(str, shards[learnt] if len(shards) > 1 else next(iter(shards.values())))))
    present = sorted({label for _, _, label in rows}, key=lambda label: (isinstance(label, str), label))
    labels = class_labels(list(names) or [str(label) for label in present])

    skipped += beside_shards(root)

    def data(name: str, rows: Sequence[Row], skipped: Skipped) -> LabelledData:
        named = rows if names else [(path, source, str(label)) for path, source, label in rows]
        return LabelledData(name, labelled_items(str(root), named, labels), len(labels.names), skipped=skipped)

    name = root.absolute().stem if root.is_file() else root.absolute().name
    if len(shards) == 1:
        return _divide(data(name, rows, skipped), labels, share, seed)
    val, _, more = read_rows(list(map(str, shards[held])))
    return Split(name, labels, data("train", rows, skipped), data("val", val, more))


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
