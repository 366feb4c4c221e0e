"""Ground truth in a file: the class of each image, in the common formats.

- ``path,index,wnid``: the index that ``wrn data imagenet`` writes
- ``ImageId,PredictionString``: Kaggle's ``LOC_val_solution.csv``
- ``path,label`` and other column names (see ``datasets.tables``), or two columns without names
- ``val_0.JPEG<TAB>n03444034`` and the four numbers of a bounding box: Tiny ImageNet's ``val_annotations.txt``
- ``ILSVRC2012_val_00000001.JPEG 65``: Caffe's ``val.txt``; the class after the last blank
- ``n01751748``: one WordNet id a line, for ImageNet's val in the order of image numbers

A class is an id, a name that one class has, or an index from 0 in the order of the network's labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.lookup import WNID, ClassLookup
from wideresnet.datasets.pairing import pair_by_name, without_ending
from wideresnet.datasets.tables import FORMATS, Table, read_table
from wideresnet.datasets.text import Text, nfc
from wideresnet.errors import DataError
from wideresnet.images.files import describe_skipped, find_images, image_endings
from wideresnet.records import Item, Labels
from wideresnet.report.escape import unescaped
from wideresnet.report.names import first_names

NUMBERED = "ILSVRC2012_val_{:08d}"
NOT_IN_ORDER = (
    "the devkit's numbers 1 to 1000 are not in the order of the sorted WordNet ids, which networks use; only its"
    " meta.mat translates them: 'wrn data imagenet IMAGES DEVKIT -o INDEX' writes a correct index"
)
_MAX_NAMES = 3                                     # in a message
_MAX_CELL = 60                                     # characters of a cell in a message


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The class index of each image that a file lists, by the path in the file.

    ``notes`` state assumptions about the file.
    """

    file: Path
    text: Text
    rows: Mapping[str, int]
    notes: tuple[str, ...] = ()


def read_ground_truth(file: Path, labels: Labels) -> GroundTruth:
    """Read a file of the formats above. Raises DataError for another one, and for a class that is not in ``labels``."""
    lookup = ClassLookup(labels, file.parent)
    table = read_table(file, lambda cell: _class_of(cell, lookup) is not None, bool(labels.ids))
    if table.width == 1:
        return GroundTruth(file, table.text, _in_order(table, lookup), table.notes)
    rows, spellings, folder = dict[str, int](), dict[str, str](), os.path.join(os.path.abspath(file.parent), "")
    for line, cells in table.rows:
        if len(cells) <= max(table.path, table.label) or any(cells[table.width :]):
            raise DataError(f"line {line} of {file} has {len(cells)} columns: {table}", hint=FORMATS)
        name, index = unescaped(cells[table.path]), _class_of(cells[table.label], lookup)
        if index is None:
            raise _unknown_class_error(table, line, cells, lookup)
        # Only paths that are spelt in another way, as ./a.png, take the memory of an entry.
        if (plain := _plain_path(name, folder)) != name or plain in spellings:
            name = plain if plain in rows else spellings.setdefault(plain, name)
        if rows.setdefault(name, index) != index:
            raise DataError(f"{file} gives {_quote(name)} two classes, {rows[name]} and {index} (line {line})")
    if not rows:
        raise DataError(f"{file} has a header and lists no images", hint="write a line for each image below it")
    notes = (f"{repeated:,} rows of {file} repeat an image",) if (repeated := len(table.rows) - len(rows)) else ()
    return GroundTruth(file, table.text, rows, (*table.notes, *notes))


def _plain_path(name: str, folder: str) -> str:
    """Return the one spelling of a path, relative to ``folder``, which ends with a separator, or absolute."""
    if os.path.isabs(name) or ".." in name:
        return os.path.normpath(os.path.join(folder, name)).removeprefix(folder)
    return os.path.normpath(name)


def labelled_index(file: Path, labels: Labels) -> LabelledData:
    """Return the images that ``file`` lists, in its order; their paths are relative to its folder.

    Where none of these exists, images are searched by their names below that folder. Raises DataError for a file of
    another format, and where none of the images exists.
    """
    truth, notes = read_ground_truth(file, labels), []
    paths = {row: path for row in truth.rows if (path := _existing_path(file.parent, row, truth.text))}
    if len(paths) < len(truth.rows):
        # Where some exist, the others are searched in their folders only.
        parents = [os.path.abspath(path.parent) for path in paths.values()]
        below = Path(os.path.commonpath(parents)) if paths else file.parent
        images = [os.path.relpath(path, file.parent) for path in find_images([below])]
        matches = match_rows(images, truth).items()
        matched = {row: name for name, row in matches if _same_path(row, name, exact=bool(paths))}
        notes = [] if paths else [f"the images of {file} were found by their names below {file.parent}"]
        paths = {row: file.parent / name for row, name in matched.items()} | paths
    if not paths:
        first = next(iter(truth.rows), "")
        raise DataError(
            f"none of the {len(truth.rows):,} images that {file} lists exists, such as {file.parent / first}",
            hint="paths are relative to the file; if the images are elsewhere, give their folder, and the file as"
            " its ground truth",
        )
    located = [(paths.get(row, file.parent / row), index) for row, index in truth.rows.items()]
    items = [Item(str(path), path, index) for path, index in located]
    return LabelledData(name=file.stem, items=items, classes=len(labels.names), notes=(*truth.notes, *notes))


def _existing_path(folder: Path, row: str, text: Text) -> Path | None:
    return next((folder / name for name in (row, text.raw_name(row)) if os.path.exists(folder / name)), None)


def _same_path(row: str, image: str, *, exact: bool) -> bool:
    """Return whether two paths differ in endings and accents only; if not ``exact``, one may have more folders."""
    ours, theirs = (without_ending(_with_ending(path.replace("\\", "/").removeprefix("./"))) for path in (row, image))
    length = max(len(ours), len(theirs)) if exact else min(len(ours), len(theirs))
    return ours[-length:] == theirs[-length:]


def _with_ending(name: str) -> str:
    """Append a dot to a name without an image's ending, so that another dot in it does not count as one."""
    return name if os.path.splitext(name)[1].lower() in image_endings() else f"{name}."


def labelled_by(root: Path, file: Path, labels: Labels) -> LabelledData:
    """Return the images below ``root``, sorted, with their classes in the ground truth ``file``.

    Raises DataError for images without a row of their own (see ``match_rows``). Rows without an image are allowed; the
    name of the data states their number.
    """
    truth, files = read_ground_truth(file, labels), find_images([root])
    images = list(map(str, files))
    rows = match_rows(images, truth)
    unlabelled = [image for image in images if image not in rows]
    if unlabelled or not rows:
        skipped = describe_skipped(files.skipped, str(root)) or "give the folder that holds the images"
        raise DataError(
            f"{len(unlabelled):,} of the {len(images):,} images in {root} have no class in {file}, or two"
            + (f": {first_names(unlabelled, _MAX_NAMES)}" if unlabelled else ""),
            hint=_unlabelled_hint(root, rows) if images else skipped,
        )
    items = [Item(image, Path(image), truth.rows[rows[image]]) for image in images]
    name = root.resolve().name
    if len(items) < len(truth.rows):
        name += f" ({len(items):,} of the {len(truth.rows):,} images in {file.name})"
    return LabelledData(name=name, items=items, classes=len(labels.names), skipped=files.skipped, notes=truth.notes)


def _unlabelled_hint(root: Path, rows: Collection[str]) -> str:
    """Return a hint for images below ``root`` without a row. ``rows``: the images that have one."""
    common = os.path.commonpath(map(os.path.dirname, rows)) if rows else ""
    if rows and Path(common) != root:
        return f"give {common}, which holds those that have one"
    return "add rows for them, with folders where names repeat, or give the folder of the images that it lists"


def match_rows(images: Collection[str], truth: GroundTruth) -> dict[str, str]:
    """Return the row (a key of ``truth.rows``) of each image that has one of its own, by ``pair_by_name``.

    Rows may lack the ending of the image's name.
    """
    rows = {_with_ending(name): row for row in truth.rows for name in (truth.text.raw_name(row), row)}
    return {image: rows[name] for image, name in pair_by_name(images, rows).items()}


def _class_of(text: str, lookup: ClassLookup) -> int | None:
    """Return the index of an id, a name, an index (also ``3.0``), or Kaggle's boxes ``n01751748 85 1 499 272 ...``."""
    index = lookup.find(text)
    if index is None and re.fullmatch(r"[0-9]+\.0+", text):
        return lookup.find(text.partition(".")[0])
    fields = text.split()
    if index is None and len(fields) > 1 and len(fields) % 5 == 0 and len(set(fields[::5])) == 1:
        return lookup.find(fields[0]) if WNID.fullmatch(fields[0]) else lookup.ids.get(fields[0])
    return index


def _in_order(table: Table, lookup: ClassLookup) -> dict[str, int]:
    """Read one WordNet id a line. Raises DataError for plain numbers, which are ambiguous."""
    if all(cells[0].isdecimal() for _, cells in table.rows):
        raise DataError(f"{table.file} holds numbers only, which do not identify classes", hint=NOT_IN_ORDER)
    rows: dict[str, int] = {}
    for number, (line, cells) in enumerate(table.rows, start=1):
        index = lookup.find(cells[0]) if WNID.fullmatch(cells[0]) else None
        if index is None:
            raise DataError(f"line {line} is {_quote(cells[0])}, which is not ground truth: {table}", hint=FORMATS)
        rows[NUMBERED.format(number)] = index
    return rows


def _unknown_class_error(table: Table, line: int, cells: Sequence[str], lookup: ClassLookup) -> DataError:
    cell = cells[table.label]
    problem = f"line {line} of {table.file} has the class {_quote(cell)}, which is none of the {lookup.count} classes"
    numbers = [row[table.label] for _, row in table.rows if len(row) > table.label]
    if not cell:
        problem = f"line {line} of {table.file} gives {_quote(cells[table.path])} no class"
        hint = "add it; a test set without classes can be classified but not evaluated"
    elif nfc(cell) in lookup.shared:
        hint = "several classes have that name: write the id or the index"
    elif not (lookup.numbered or "0" in numbers) and str(lookup.count) in numbers and all(map(str.isdecimal, numbers)):
        hint = from_one_hint(lookup.count)
    else:
        hint = f"{lookup.expected}; {table}"
    return DataError(problem, hint)


def from_one_hint(count: int) -> str:
    """Return the hint for indices from 1 to ``count``."""
    hint = f"indices run from 0 to {count - 1}, these seem to count from 1: subtract 1, or write names"
    return hint + (f". If they are devkit numbers: {NOT_IN_ORDER}" if count == 1000 else "")


def _quote(cell: str) -> str:
    return repr(cell if len(cell) <= _MAX_CELL else f"{cell[:_MAX_CELL]}…")
