"""Class names by index: the label lists of the package, and the ``labels.txt`` of a bundle.

One class a line, in the order of the index: ``name``, or ``id<TAB>name``.
"""

from __future__ import annotations

from importlib import resources
from typing import Literal

from wideresnet.errors import ConfigError, DataError, check_choice
from wideresnet.records import Labels
from wideresnet.report.escape import printable

# The sources are in the README.md beside the files.
LABEL_LISTS = ("imagenet", "cifar10", "cifar100", "svhn")
Language = Literal["en", "zh"]                     # "en": the names as they are


def read_labels(name: str) -> Labels:
    """Read one of ``LABEL_LISTS``. Raises ConfigError for another name."""
    check_choice("label list", name, LABEL_LISTS, hint=f"there are {', '.join(LABEL_LISTS)}")
    return _read(name)


def translated(labels: Labels, language: Language, list_name: str) -> Labels:
    """Return labels with their names in ``language``; ids and indices stay.

    ``list_name`` is the list of ``LABEL_LISTS`` that they are (``ModelCard.labels_name``). Raises ConfigError where
    they are not that list.
    """
    if language == "en":
        return labels
    original = read_labels(list_name) if list_name in LABEL_LISTS else None
    if original is None or (labels.ids or labels.names) != (original.ids or original.names):
        raise ConfigError(
            f"there are no names in {language!r} for {list_name or 'these'} labels of {len(labels.names)} classes",
            hint=f"they exist for {', '.join(LABEL_LISTS)}; for others write a file with a name a line, and give it"
            " with --labels",
        )
    return Labels(names=_read(f"{list_name}.{language}").names, ids=labels.ids)


def numbered_names(classes: int) -> tuple[str, ...]:
    """Return names for classes that have none."""
    return tuple(f"class {index}" for index in range(classes))


def parse_labels(text: str) -> Labels:
    """Parse the text of a label file. Raises DataError for another text."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines:
        raise DataError("the label list is empty")
    rows = [line.split("\t") for line in lines]
    columns = len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != columns or columns > 2 or not all(field.strip() for field in row):
            problem = f"line {number} of the label list is {lines[number - 1]!r}"
            raise DataError(problem, hint="expected one class a line, all as 'name' or all as 'id<TAB>name'")
    ids = tuple(row[0] for row in rows) if columns == 2 else ()
    if len(set(ids)) != len(ids):
        raise DataError("an id occurs twice in the label list", hint="give each class its own id; names may repeat")
    return Labels(names=tuple(row[-1] for row in rows), ids=ids)


def format_labels(labels: Labels) -> str:
    """Return labels as the text of a label file, which ``parse_labels`` reads.

    Raises DataError for a name that would break the lines.
    """
    for field in (*labels.names, *labels.ids):
        if not field.strip() or printable(field) != field:
            raise DataError(f"{field!r} can't be a label", hint="use UTF-8 without control characters")
    if not labels.ids:
        return "".join(f"{name}\n" for name in labels.names)
    return "".join(f"{id_}\t{name}\n" for id_, name in zip(labels.ids, labels.names, strict=True))


def _read(name: str) -> Labels:
    return parse_labels(resources.files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8"))
