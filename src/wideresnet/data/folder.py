"""Labelled pictures in folders, one folder a class (``ROOT/n01440764/x.JPEG``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from wideresnet.data.labelled import LabelledData
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
    lookup = _Lookup(labels)
    classes: dict[int, Path] = {}
    for folder in folders:
        index = lookup.index(folder)
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


class _Lookup:
    """Folder names to class indices."""

    def __init__(self, labels: Labels) -> None:
        self.count = len(labels.names)
        self.ids = {id_: index for index, id_ in enumerate(labels.ids)}
        times = Counter(labels.names)
        self.names = {name: index for index, name in enumerate(labels.names) if times[name] == 1}
        self.shared = {name for name in times if times[name] > 1}

    def find(self, name: str) -> int | None:
        if name in self.ids:
            return self.ids[name]
        if name in self.names:
            return self.names[name]
        if name.isascii() and name.isdecimal() and int(name) < self.count:
            return int(name)
        return None

    def index(self, folder: Path) -> int:
        """Raises DataError when the folder's name fits no class."""
        found = self.find(folder.name)
        if found is None:
            raise DataError(f"the folder {folder} fits none of the {self.count} classes", self._hint(folder))
        return found

    def _hint(self, folder: Path) -> str:
        if folder.name in self.shared:
            return f"several classes are called {folder.name!r}: name the folder by id or index"
        if any(path.is_dir() and self.find(path.name) is not None for path in _list(folder)):
            return f"its own folders do: give {folder}"
        return did_you_mean(folder.name, [*self.ids, *self.names]) or _EXPECTED
