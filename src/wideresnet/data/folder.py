"""Labelled pictures in folders, one folder a class (``ROOT/n01440764/x.JPEG``)."""

from __future__ import annotations

from pathlib import Path

from wideresnet.data.labelled import LabelledData
from wideresnet.data.lookup import ClassLookup
from wideresnet.errors import DataError, did_you_mean
from wideresnet.images.files import find_pictures
from wideresnet.records import Item, Labels


def labelled_folder(root: Path, labels: Labels) -> LabelledData:
    """The pictures below ``root``, sorted, each with the class its first folder names.

    A folder names its class by id (``n01440764``), by name where only one class has it, or by index
    (``17``). Not every class needs a folder. Raises DataError when there is no class folder or no
    picture, when a folder fits no class, and when two folders fit one.
    """
    folders = sorted(path for path in _list(root) if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DataError(f"{root} holds no class folders", hint=_EXPECTED)
    lookup = ClassLookup(labels, root)
    classes: dict[int, Path] = {}
    for folder in folders:
        index = _index(folder, lookup)
        if index in classes:
            raise DataError(f"{classes[index]} and {folder} are folders of one class", hint="merge them")
        classes[index] = folder
    items = [
        Item(path=str(path), source=path, label=index)
        for index, folder in classes.items()
        for path in find_pictures([folder])
    ]
    if not items:
        raise DataError(f"the class folders of {root} hold no pictures")
    return LabelledData(name=root.resolve().name, items=items, classes=len(labels.names))


_EXPECTED = "expected one folder a class, named by class id, name or index: DATA/n01440764/picture.jpg"


def _list(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError as error:
        raise DataError(f"cannot list {root}: {error.strerror}", hint=_EXPECTED) from error


def _index(folder: Path, lookup: ClassLookup) -> int:
    """Raises DataError when the folder's name fits no class."""
    found = lookup.find(folder.name)
    if found is None:
        raise DataError(
            f"the folder {folder} fits none of the {lookup.count} classes", hint=_hint(folder, lookup)
        )
    return found


def _hint(folder: Path, lookup: ClassLookup) -> str:
    if folder.name in lookup.shared:
        return f"several classes are called {folder.name!r}: name the folder by id or index"
    if any(path.is_dir() and lookup.find(path.name) is not None for path in _list(folder)):
        return f"its own folders do: give {folder}"
    return did_you_mean(folder.name, [*lookup.ids, *lookup.names]) or _EXPECTED
