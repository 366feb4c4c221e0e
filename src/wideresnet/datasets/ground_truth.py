"""Ground truth that lies in a file: which class each image is of, in the forms that are in use.

- ``path,index,wnid``: the index that ``wrn data imagenet`` writes
- ``ImageId,PredictionString``: Kaggle's ``LOC_val_solution.csv``
- ``path,label`` and other names over the columns (see ``data.tables``), or two columns without
- ``val_0.JPEG<TAB>n03444034`` and the four numbers of a box: Tiny ImageNet's ``val_annotations.txt``
- ``ILSVRC2012_val_00000001.JPEG 65``: Caffe's ``val.txt``; the class after the last blank
- ``n01751748``: one WordNet id a line, for ImageNet's val in the order of its numbers

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
from wideresnet.datasets.tables import FORMS, Table, read_table
from wideresnet.datasets.text import Text, nfc
from wideresnet.errors import DataError
from wideresnet.images.files import describe_skipped, find_images, image_endings
from wideresnet.records import Item, Labels
from wideresnet.report.escape import unescaped

NUMBERED = "ILSVRC2012_val_{:08d}"
NOT_IN_ORDER = (
    "the devkit's numbers 1 to 1000 are not in the order of the sorted WordNet ids, which networks use; only its"
    " meta.mat says which class each is: 'wrn data imagenet IMAGES DEVKIT -o INDEX' writes an index that is right"
)
_SHOWN = 3                                         # names in a message
_LONGEST = 60                                      # characters of a cell in a message


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The class index of each image a file lists, by the image's path as the file writes it.

    ``notes`` say what was assumed of the file.
    """

    file: Path
    text: Text
    rows: Mapping[str, int]
    notes: tuple[str, ...] = ()


def read_ground_truth(file: Path, labels: Labels) -> GroundTruth:
    """Read any of the forms above. Raises DataError for another, and for a class that is not among ``labels``."""
    lookup = ClassLookup(labels, file.parent)
    table = read_table(file, lambda cell: _class_of(cell, lookup) is not None, bool(labels.ids))
    if table.width == 1:
        return GroundTruth(file, table.text, _in_order(table, lookup), table.notes)
    rows: dict[str, int] = {}
    for line, cells in table.rows:
        if len(cells) <= max(table.path, table.label):
            raise DataError(f"line {line} of {file} has {len(cells)} columns: {table}", hint=FORMS)
        name, index = unescaped(cells[table.path]), _class_of(cells[table.label], lookup)
        if index is None:
            raise _no_class(table, line, cells, lookup)
        if rows.setdefault(name, index) != index:
            raise DataError(f"{file} gives {_shown(name)} two classes, {rows[name]} and {index} (line {line})")
    return GroundTruth(file, table.text, rows, table.notes)


def labelled_index(file: Path, labels: Labels) -> LabelledData:
    """The images that ``file`` lists, in its order; their paths are relative to its folder.

    Where none lies there, they are looked for by their names below that folder. Raises DataError for a file of no such
    form, and when not one of the images is found.
    """
    truth, notes = read_ground_truth(file, labels), []
    paths = {row: path for row in truth.rows if (path := _at(file.parent, row, truth.text))}
    if len(paths) < len(truth.rows):
        # Where some are there, the others are not looked for anywhere else.
        parents = [os.path.abspath(path.parent) for path in paths.values()]
        below = Path(os.path.commonpath(parents)) if paths else file.parent
        others = [os.path.relpath(path, file.parent) for path in find_images([below])]
        matched = {row: name for name, row in match_rows(others, truth).items() if _agree(row, name, exact=bool(paths))}
        notes = [] if paths else [f"the images of {file} were found by their names below {file.parent}"]
        paths = {row: file.parent / name for row, name in matched.items()} | paths
    if not paths:
        first = next(iter(truth.rows), "")
        raise DataError(
            f"none of the {len(truth.rows):,} images that {file} lists is there, such as {file.parent / first}",
            hint="paths are relative to the file; if the images lie elsewhere, give their folder, and the file as"
            " its ground truth",
        )
    located = [(paths.get(row, file.parent / row), index) for row, index in truth.rows.items()]
    items = [Item(str(path), path, index) for path, index in located]
    return LabelledData(name=file.stem, items=items, classes=len(labels.names), notes=(*truth.notes, *notes))


def _at(folder: Path, row: str, text: Text) -> Path | None:
    return next((folder / name for name in (row, text.raw_name(row)) if os.path.exists(folder / name)), None)


def _agree(row: str, image: str, *, exact: bool) -> bool:
    """Whether two paths are the same but for their endings and accents; if not ``exact``, as far as both go."""
    ours, theirs = (without_ending(_ended(path.replace("\\", "/").removeprefix("./"))) for path in (row, image))
    length = max(len(ours), len(theirs)) if exact else min(len(ours), len(theirs))
    return ours[-length:] == theirs[-length:]


def _ended(name: str) -> str:
    """With a dot behind a name that has no ending of an image, so that none of its dots counts as one."""
    return name if os.path.splitext(name)[1].lower() in image_endings() else f"{name}."


def labelled_by(root: Path, file: Path, labels: Labels) -> LabelledData:
    """The images below ``root``, sorted, with the classes that the ground truth ``file`` gives them.

    Raises DataError for images without a row of their own (see ``match_rows``). Rows without an image do not
    matter; the data's name says how many there are.
    """
    truth, files = read_ground_truth(file, labels), find_images([root])
    images = list(map(str, files))
    rows = match_rows(images, truth)
    bare = [image for image in images if image not in rows]
    if bare or not rows:
        passed = describe_skipped(files.skipped, str(root)) or "give the folder that holds the images"
        raise DataError(
            f"{len(bare):,} of the {len(images):,} images in {root} have no class in {file}, or two{_some(bare)}",
            hint=_remedy(root, rows) if images else passed,
        )
    items = [Item(image, Path(image), truth.rows[rows[image]]) for image in images]
    name = root.resolve().name
    if len(items) < len(truth.rows):
        name += f" ({len(items):,} of the {len(truth.rows):,} images in {file.name})"
    count = len(labels.names)
    return LabelledData(name=name, items=items, classes=count, skipped=files.skipped, notes=truth.notes)


def _remedy(root: Path, rows: Collection[str]) -> str:
    """What to do about images below ``root`` without a row. ``rows``: the images that have one."""
    common = os.path.commonpath(map(os.path.dirname, rows)) if rows else ""
    if rows and Path(common) != root:
        return f"give {common}, where those lie that have one"
    return "write their rows, with the folders where names repeat, or give the folder of the images that it names"


def match_rows(images: Collection[str], truth: GroundTruth) -> dict[str, str]:
    """The row (a key of ``truth.rows``) of each image that has one of its own, by their names: see ``pair_by_name``.

    Rows may lack the ending of the image's name.
    """
    rows = {_ended(name): row for row in truth.rows for name in (truth.text.raw_name(row), row)}
    return {image: rows[name] for image, name in pair_by_name(images, rows).items()}


def _class_of(text: str, lookup: ClassLookup) -> int | None:
    """Of an id, a name, an index (also ``3.0``), or Kaggle's ``n01751748 85 1 499 272 ...``: an id before each box."""
    found = lookup.find(text)
    if found is None and re.fullmatch(r"[0-9]+\.0+", text):
        return lookup.find(text.partition(".")[0])
    words = text.split()
    if found is None and len(words) > 1 and len(words) % 5 == 0 and len(set(words[::5])) == 1:
        return lookup.find(words[0]) if WNID.fullmatch(words[0]) else lookup.ids.get(words[0])
    return found


def _in_order(table: Table, lookup: ClassLookup) -> dict[str, int]:
    """One WordNet id a line. Raises DataError for bare numbers: nobody knows what they count."""
    if all(cells[0].isdecimal() for _, cells in table.rows):
        raise DataError(f"{table.file} holds numbers alone, which do not say which class they mean", hint=NOT_IN_ORDER)
    rows: dict[str, int] = {}
    for number, (line, cells) in enumerate(table.rows, start=1):
        index = lookup.find(cells[0]) if WNID.fullmatch(cells[0]) else None
        if index is None:
            raise DataError(f"line {line} is {_shown(cells[0])}, which is no ground truth: {table}", hint=FORMS)
        rows[NUMBERED.format(number)] = index
    return rows


def _no_class(table: Table, line: int, cells: Sequence[str], lookup: ClassLookup) -> DataError:
    cell = cells[table.label]
    said = f"line {line} of {table.file} says {_shown(cell)}, which is none of the {lookup.count} classes"
    numbers = [row[table.label] for _, row in table.rows if len(row) > table.label]
    if not cell:
        said = f"line {line} of {table.file} gives {_shown(cells[table.path])} no class"
        hint = "add it; a test set without classes can be classified but not evaluated"
    elif nfc(cell) in lookup.shared:
        hint = "several classes have that name: write the id or the index"
    elif str(lookup.count) in numbers and all(map(str.isdecimal, numbers)) and "0" not in numbers:
        hint = f"indices run from 0 to {lookup.count - 1}, these seem to count from 1: subtract 1, or write names"
        hint += f". If they are devkit numbers: {NOT_IN_ORDER}" if lookup.count == 1000 else ""
    else:
        hint = f"expected an id, a name or an index from 0 to {lookup.count - 1}; {table}"
    return DataError(said, hint)


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _LONGEST else f"{cell[:_LONGEST]}…")


def _some(names: Sequence[str]) -> str:
    """``: a, b, c and 7 more``; nothing for none."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f": {', '.join(names[:_SHOWN])}{more}" if names else ""
