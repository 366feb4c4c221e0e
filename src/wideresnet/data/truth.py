"""Ground truth that lies in a file: which class each picture is of, in the forms that are in use.

- ``path,index,wnid``: the index that ``wrn data imagenet`` writes
- ``ImageId,PredictionString``: Kaggle's ``LOC_val_solution.csv``
- ``path,label``: any CSV file, with or without a line of column names
- ``ILSVRC2012_val_00000001.JPEG 65``: Caffe's ``val.txt``; the class after the last blank
- ``n01751748``: one WordNet id a line, for ImageNet's val in the order of its numbers

A class is an id, a name that one class has, or an index from 0 in the order of the network's labels.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from wideresnet.data.labelled import LabelledData
from wideresnet.data.lookup import ClassLookup
from wideresnet.errors import DataError
from wideresnet.images.files import describe_skipped, find_pictures
from wideresnet.pipes import read_text
from wideresnet.records import Item, Labels

NUMBERED = "ILSVRC2012_val_{:08d}"
NOT_IN_ORDER = (
    "the devkit's numbers 1 to 1000 are not in the order of the sorted WordNet ids, which networks use; only its"
    " meta.mat says which class each is: 'wrn data imagenet PICTURES DEVKIT -o INDEX' writes an index that is right"
)
_PATHS = ("path", "file", "filename", "file_name", "image", "imageid", "image_id")
_INDICES = ("index", "label", "class", "predictionstring")
_SHOWN = 3                                         # names in a message


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The class index of each picture a file lists, by the picture's path as the file writes it."""

    file: Path
    rows: Mapping[str, int]


def read_ground_truth(file: Path, labels: Labels) -> GroundTruth:
    """Read any of the forms above. Raises DataError for another, and for a class that is not among ``labels``."""
    table = list(_table(file))
    head = [cell.strip().lower() for cell in table[0][1]] if table else []
    columns = _columns(head, labels)
    lookup = ClassLookup(labels)
    if columns is None and len(head) == 1:
        return GroundTruth(file, _in_order(file, table, lookup))
    if columns is None and len(head) != 2:
        raise DataError(f"{file} has {len(head)} columns and no names over them", hint=_EXPECTED)
    if columns is not None:
        del table[0]
    path, class_ = columns or (0, 1)
    rows: dict[str, int] = {}
    for line, cells in table:
        if len(cells) <= max(path, class_):
            raise DataError(f"line {line} of {file} has {len(cells)} columns, expected {len(head)}", hint=_EXPECTED)
        name, index = cells[path].strip(), _class_of(cells[class_].strip(), lookup)
        if index is None:
            raise _no_class(file, line, cells[class_], lookup)
        if rows.setdefault(name, index) != index:
            raise DataError(f"{file} gives {name} two classes, {rows[name]} and {index} (line {line})")
    return GroundTruth(file, rows)


def labelled_index(file: Path, labels: Labels) -> LabelledData:
    """The pictures that ``file`` lists, in its order; their paths are relative to its folder.

    Raises DataError for a file of no such form, and when not one of the pictures is there.
    """
    truth = read_ground_truth(file, labels)
    paths = [file.parent / name for name in truth.rows]
    if not any(path.is_file() for path in paths):
        raise DataError(
            f"none of the {len(paths):,} pictures that {file} lists is there, such as {paths[0]}",
            hint="paths are relative to the file; if the pictures lie elsewhere, give their folder, and the file as"
            " its ground truth",
        )
    items = [Item(str(path), path, index) for path, index in zip(paths, truth.rows.values(), strict=True)]
    return LabelledData(name=file.stem, items=items, classes=len(labels.names))


def labelled_by(root: Path, file: Path, labels: Labels) -> LabelledData:
    """The pictures below ``root``, sorted, with the classes that the ground truth ``file`` gives them.

    A picture's row has the same file name (or has it without the ending); where several do, the one that agrees in
    most of the last folders. Raises DataError for pictures without a row, and where it is not clear which row is
    meant. Rows without a picture do not matter; the data's name says how many there are.
    """
    truth = read_ground_truth(file, labels)
    files = find_pictures([root])
    rows = match_rows(list(files), truth)
    bare = [str(picture) for picture, row in rows.items() if row is None]
    if bare or not rows:
        passed = describe_skipped(files.skipped, str(root)) or "give the folder that holds the pictures"
        raise DataError(
            f"{len(bare):,} of the {len(rows):,} pictures in {root} have no class in {file}{_some(bare)}",
            hint="add their rows, or move the pictures away" if rows else passed,
        )
    items = [Item(str(picture), picture, truth.rows[row]) for picture, row in rows.items() if row is not None]
    name = root.resolve().name
    if len(items) < len(truth.rows):
        name += f" ({len(items):,} of the {len(truth.rows):,} pictures in {file.name})"
    return LabelledData(name=name, items=items, classes=len(labels.names), skipped=files.skipped)


def match_rows(pictures: Sequence[Path], truth: GroundTruth) -> dict[Path, str | None]:
    """The row of each picture (a key of ``truth.rows``), or None. Raises DataError where two would fit."""
    by_name: defaultdict[str, list[tuple[list[str], str]]] = defaultdict(list)
    for name in truth.rows:
        parts = name.replace("\\", "/").split("/")
        by_name[parts[-1]].append((parts, name))
    found: dict[Path, str | None] = {}
    taken: dict[str, Path] = {}
    for picture in pictures:
        row = found[picture] = _row_of(picture, by_name, truth)
        if row is not None and taken.setdefault(row, picture) != picture:
            raise DataError(
                f"{taken[row]} and {picture} both fit the row {row!r} of {truth.file}",
                hint="write the folders too in the file's paths",
            )
    return found


def _row_of(picture: Path, by_name: Mapping[str, list[tuple[list[str], str]]], truth: GroundTruth) -> str | None:
    fitting: list[tuple[list[str], str]] = [*by_name.get(picture.name, ()), *by_name.get(picture.stem, ())]
    if not fitting:
        return None
    agreeing = {row: _agreement(parts, picture.parts) for parts, row in fitting}
    best = [row for row, length in agreeing.items() if length == max(agreeing.values())]
    if len({truth.rows[row] for row in best}) > 1:
        raise DataError(
            f"{picture} fits several rows of {truth.file} of different classes{_some(best)}",
            hint="write the folders too in the file's paths",
        )
    return best[0]


def _agreement(row: Sequence[str], picture: Sequence[str]) -> int:
    """How many of the last folders are the same."""
    pairs = zip(row[-2::-1], picture[-2::-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _table(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells; empty lines are left out."""
    try:
        text = read_text(file, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file} as ground truth: {error}", hint=_EXPECTED) from error
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip()), "")
    delimiter = "," if "," in first else "\t" if "\t" in first else ""
    lines.seek(0)
    split = csv.reader(lines, delimiter=delimiter) if delimiter else (line.rsplit(None, 1) for line in lines)
    try:
        for line, cells in enumerate(split, start=1):
            if any(cell.strip() for cell in cells):
                yield line, cells
    except csv.Error as error:
        raise DataError(f"{file} is no CSV file: {error}", hint=_EXPECTED) from error


def _columns(head: Sequence[str], labels: Labels) -> tuple[int, int] | None:
    """Where the path and the class stand, if ``head`` is a line of column names."""
    # Where the network knows ids, an id is surer than an index.
    classes = ("wnid", *_INDICES) if labels.ids else (*_INDICES, "wnid")
    found = [[head.index(name) for name in names if name in head] for names in (_PATHS, classes)]
    return (found[0][0], found[1][0]) if all(found) else None


def _class_of(text: str, lookup: ClassLookup) -> int | None:
    """Of an id, a name, an index, or Kaggle's ``n01751748 85 1 499 272 ...``: an id before each box."""
    found = lookup.find(text)
    words = text.split()
    if found is None and len(words) > 1 and len(words) % 5 == 0 and len(set(words[::5])) == 1:
        return lookup.ids.get(words[0])
    return found


def _in_order(file: Path, table: list[tuple[int, list[str]]], lookup: ClassLookup) -> dict[str, int]:
    """One WordNet id a line. Raises DataError for bare numbers: nobody knows what they count."""
    if all(cells[0].strip().isdecimal() for _, cells in table):
        raise DataError(f"{file} holds numbers alone, which do not say which class they mean", hint=NOT_IN_ORDER)
    rows = {}
    for number, (line, cells) in enumerate(table, start=1):
        index = lookup.ids.get(cells[0].strip())
        if index is None:
            raise DataError(f"line {line} of {file} is {cells[0]!r}, which is no ground truth", hint=_EXPECTED)
        rows[NUMBERED.format(number)] = index
    return rows


def _no_class(file: Path, line: int, cell: str, lookup: ClassLookup) -> DataError:
    if cell.strip() in lookup.shared:
        hint = "several classes have that name: write the id or the index"
    elif cell.strip() == str(lookup.count):
        hint = f"indices run from 0 to {lookup.count - 1}; these may be one too high each, or else devkit numbers: "
        hint += NOT_IN_ORDER
    else:
        hint = f"expected an id, a name or an index from 0 to {lookup.count - 1}"
    return DataError(f"line {line} of {file} says {cell.strip()!r}, which is none of the {lookup.count} classes", hint)


def _some(names: Sequence[str]) -> str:
    """``: a, b, c and 7 more``; nothing for none."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f": {', '.join(names[:_SHOWN])}{more}" if names else ""


_EXPECTED = (
    "accepted are 'path,label' as CSV, Caffe's 'name.JPEG 65', Kaggle's LOC_val_solution.csv, the index that"
    " 'wrn data imagenet' writes, and one WordNet id a line"
)
