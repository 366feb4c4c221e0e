"""A training and a validation set from class folders or shards, divided by a hash where no split exists."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.datasets import shards as sharded
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import format_labels
from wideresnet.datasets.layout import EXPECTED, class_folders, find_layout
from wideresnet.datasets.open import check_format
from wideresnet.datasets.splits import Split, check_classes_learnt, check_two_classes, class_labels, split_of, with_note
from wideresnet.datasets.tar import RawLabel
from wideresnet.errors import DataError
from wideresnet.output.row_format import csv_line
from wideresnet.records import Item, Labels, Skipped
from wideresnet.report.escape import cell_text


def open_split(root: Path, fraction: float, seed: int, test: Path | None = None) -> Split:
    """Return the splits of class folders or shards (see ``datasets.layout``); without a validation set, divide them.

    Dividing moves ``fraction`` of each class into the validation set: at least one image where a class has two or more,
    and never all of them. The names of the images and the seed decide which: an added image moves one other at most. A
    test split is the validation set where there is no other, unless it is ``test``, which is for the final measurement
    alone. Raises DataError for fewer than two classes, a class without an image, an empty validation set, and a name
    that cannot be a label.
    """
    if shards := sharded.find_shards(root):
        split = _split_of_shards(shards, fraction, seed, test)
    else:
        check_format(root)
        split = _split_of_folders(root, fraction, seed, test)
    format_labels(split.labels)                    # names that cannot be written are refused before the training
    check_two_classes(split.labels, root)
    check_classes_learnt(split, split.train.present)
    if not split.val.items:
        raise DataError(f"every class of {root} has one image only: the validation set is empty", hint=EXPECTED)
    return with_note(split, *(_notes_on_division(split, fraction) if split.divided else ()))


def _notes_on_division(split: Split, fraction: float) -> Iterator[str]:
    """Yield notes where the division differs from ``fraction``: small classes, and classes of one image."""
    sizes = [sum(pair) for pair in zip(split.train.class_counts, split.val.class_counts, strict=True)]
    if any(not 1 <= round(fraction * size) < size for size in sizes if size > 1):
        yield f"{len(split.val.items):,} of {sum(sizes):,} images are in val, not {fraction:g}: one a class at least"
    if alone := len(split.labels.names) - len(split.val.present):
        yield f"{alone:,} of {len(split.labels.names):,} classes have one image only, which is none of validation"


def to_index(data: LabelledData, labels: Labels) -> str:
    """Return ``data`` as an index (CSV) with absolute paths and the ids or names of ``labels``."""
    names = labels.ids or labels.names             # an index could be another class's name
    rows = ((cell_text(str(Path(item.path).absolute())), names[item.label or 0]) for item in data.items)
    return "".join(map(csv_line, (("path", "label"), *rows)))


def _split_of_folders(root: Path, fraction: float, seed: int, test: Path | None) -> Split:
    layout = find_layout(root)
    reserved = test is not None and layout.splits.get("test", root).resolve().is_relative_to(test.resolve())
    roles = layout.splits.keys() - ({"test"} if reserved else set())
    if not layout.splits or roles == {"train"}:
        folder = layout.splits.get("train", layout.root)
        labels = class_labels(class_folders(folder))
        data = labelled_folder(folder, labels)
        data = replace(data, name=root.absolute().name, skipped=layout.skipped + data.skipped)
        return _divide(data, labels, fraction, seed)
    split = split_of(layout, root)
    if split.test and not reserved:
        return with_note(split, f"left out {split.test}: --test {split.test} measures the result on it")
    return split


def _divide(data: LabelledData, labels: Labels, fraction: float, seed: int) -> Split:
    validation = set(map(id, validation_items(data.items, fraction, seed)))
    train = replace(data, name="train", items=[item for item in data.items if id(item) not in validation])
    val = replace(data, name="val", items=[item for item in data.items if id(item) in validation], skipped=Skipped())
    return Split(data.name, labels, train, val, divided=True)


def _split_of_shards(shards: sharded.ShardFiles, fraction: float, seed: int, test: Path | None) -> Split:
    """Return the splits that shards state in their names, or divide a single one. Raises DataError where it is unclear.

    The classes are those that the shards list, else all labels in them: numbers in their order, then names.
    """
    root, splits = shards.path, dict(shards.splits)
    of_test = (file.resolve() for file in splits.get("test", ()))
    if test and len(splits) > 1 and any(file.is_relative_to(test.resolve()) for file in of_test):
        del splits["test"]
    train_split = sharded.TRAIN if sharded.TRAIN in splits else ""
    val_split = next((split for split in sharded.HELD_OUT if split in splits), "")
    if len(splits) > 1 and (train_split not in splits or not val_split):
        problem = f"{root} holds shards of {', '.join(sorted(splits))}"
        raise DataError(problem, hint="name them train-….tar and validation-….tar")
    files = splits[train_split] if len(splits) > 1 else next(iter(splits.values()))
    train = sharded.read_shards(list(map(str, files)))
    present = sorted({label for _, _, label in train.rows}, key=lambda label: (isinstance(label, str), label))
    labels = class_labels(list(train.class_names) or [str(label) for label in present])

    def labelled(name: str, data: sharded.ShardRows, skipped: Skipped) -> LabelledData:
        rows, names = data.rows, dict[RawLabel, str](enumerate(data.class_names))
        if names:                                  # which may be in another order than the names of the other split
            rows = [(path, source, names.get(label)) for path, source, label in rows]
        elif not train.class_names:                # numbers are names here, not indices
            rows = [(path, source, str(label)) for path, source, label in rows]
        return LabelledData(name, sharded.indexed_items(str(root), rows, labels), len(labels.names), skipped=skipped)

    name = root.absolute().stem if root.is_file() else root.absolute().name
    skipped = train.skipped + shards.skipped + Skipped(notes=tuple(sharded.notes_on_numbers(files)))
    if len(splits) == 1:
        if val_split:
            skipped += Skipped(notes=(f"{root} holds shards of the split {val_split} alone: they are trained on",))
        return _divide(labelled(name, train, skipped), labels, fraction, seed)
    rest = sorted((key or "no split", splits[key]) for key in splits.keys() - {train_split, val_split})
    left_out = (f"left out {len(files)} shards of {key}, such as {files[0]}" for key, files in rest)
    val, notes = sharded.read_shards(list(map(str, splits[val_split]))), sharded.notes_on_numbers(splits[val_split])
    val_skipped = val.skipped + Skipped(notes=(*notes, *left_out))
    return Split(name, labels, labelled("train", train, skipped), labelled("val", val, val_skipped))


def validation_items(items: Sequence[Item], fraction: float, seed: int) -> list[Item]:
    """Return the ``fraction`` of ``items`` of each class for the validation set; see ``open_split``."""
    classes: defaultdict[int | None, list[Item]] = defaultdict(list)
    for item in items:
        classes[item.label].append(item)
    chosen: list[Item] = []
    for group in classes.values():
        count = min(max(1, round(fraction * len(group))), len(group) - 1)
        chosen += sorted(group, key=lambda item: _split_hash(item, seed))[:count]
    return chosen


def _split_hash(item: Item, seed: int) -> bytes:
    path = Path(item.path)
    return hashlib.sha256(f"{seed}/{path.parent.name}/{path.name}".encode("utf-8", "surrogateescape")).digest()
