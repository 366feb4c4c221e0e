"""Class names by index: those that come with the package, and the ``labels.txt`` of a bundle.

One class a line, in the order of the index: ``name``, or ``id<TAB>name``.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal

from wideresnet.errors import ConfigError, DataError, did_you_mean
from wideresnet.records import Labels
from wideresnet.report.escape import printable

# The sources are in the README.md beside the files.
KNOWN = ("imagenet", "cifar10", "cifar100", "svhn")
Language = Literal["en", "zh"]                     # "en": the names as they are


def read_labels(name: str) -> Labels:
    """One of the label lists of ``KNOWN``. Raises ConfigError for another name."""
    if name not in KNOWN:
        raise ConfigError(
            f"no label list called {name!r}",
            hint=did_you_mean(name, KNOWN) or f"there are {', '.join(KNOWN)}",
        )
    return _read(name)


def translated(labels: Labels, language: Language, known: str) -> Labels:
    """The same classes with their names in ``language``; ids and indices stay.

    ``known`` says which list of ``KNOWN`` the labels are (``ModelCard.labels_name``). Raises ConfigError where they
    are none of them, or another list than that.
    """
    if language == "en":
        return labels
    original = read_labels(known) if known in KNOWN else None
    if original is None or (labels.ids or labels.names) != (original.ids or original.names):
        raise ConfigError(
            f"there are no names in {language!r} for {known or 'these'} labels of {len(labels.names)} classes",
            hint=f"there are for those of {', '.join(KNOWN)}; for others write a file, a name a line, and give it"
            " with --labels",
        )
    names = _read(f"{known}.{language}").names
    return Labels(names=names, ids=labels.ids)


def parse_labels(text: str) -> Labels:
    """The text of a label file -> Labels. Raises DataError for what isn't one."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines:
        raise DataError("the label list is empty")
    rows = [line.split("\t") for line in lines]
    columns = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != columns or columns > 2 or not all(field.strip() for field in row):
            raise DataError(
                f"line {number} of the label list is {lines[number - 1]!r}",
                hint="expected one class a line, all as 'name' or all as 'id<TAB>name'",
            )
    ids = tuple(row[0] for row in rows) if columns == 2 else ()
    if len(set(ids)) != len(ids):
        raise DataError("an id occurs twice in the label list", hint="names may repeat, ids may not")
    return Labels(names=tuple(row[-1] for row in rows), ids=ids)


def format_labels(labels: Labels) -> str:
    """Labels -> the text of a label file; ``parse_labels`` gives the same back.

    Raises DataError for a name that would break the lines.
    """
    for field in (*labels.names, *labels.ids):
        if not field.strip() or printable(field) != field:
            raise DataError(f"{field!r} can't be a label", hint="it may hold no control character, and only UTF-8")
    if not labels.ids:
        return "".join(f"{name}\n" for name in labels.names)
    return "".join(f"{id_}\t{name}\n" for id_, name in zip(labels.ids, labels.names, strict=True))


def _read(name: str) -> Labels:
    return parse_labels(resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8"))
