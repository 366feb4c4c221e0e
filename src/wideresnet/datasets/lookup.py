"""Class indices by id, name or number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.text import nfc, read_text
from wideresnet.records import Labels

WNID = re.compile(r"n[0-9]{8}")
WORD_LISTS = ("words.txt", "LOC_synset_mapping.txt")         # of Tiny ImageNet and of Kaggle's ImageNet
_LEVELS = 3                                        # folders upwards that are searched for them


class ClassLookup:
    """An index of classes by id (``n01440764``), by name where only one class has it, and by index (``17``, from 0).

    Where names are numbers themselves, as of folders 001, 002, 003 or of the cards 2 to 10 beside jack and queen, a
    number is a name and no index: a table that lost the zeros, or has indices, would mean other classes. Composed and
    decomposed names are equal, and blanks at the ends do not count. Where the labels have no ids, WordNet ids are
    translated by their names in ImageNet, or in the word list that comes with the data, in the folder ``near`` or above
    it.
    """

    def __init__(self, labels: Labels, near: Path | None = None) -> None:
        self.count, self._near = len(labels.names), near
        self.ids = {_key(id_): index for index, id_ in enumerate(labels.ids)}
        names = list(map(_key, labels.names))
        self.names = _unique(names)
        self.shared = {*names} - {*self.names}
        self.numbered = any(map(str.isdecimal, self.ids or names))

    def find(self, name: str) -> int | None:
        """Return the index of the class ``name``, or None."""
        name = _key(name)
        if name in self.ids:
            return self.ids[name]
        if name in self.names:
            return self.names[name]
        if re.fullmatch("[0-9]{1,9}", name) and int(name) < self.count and not self.numbered:
            return int(name)
        return self._by_wordnet_id.get(name) if WNID.fullmatch(name) and not self.ids else None

    @property
    def expected(self) -> str:
        """A description of the names that ``find`` accepts, for error messages."""
        if self.numbered:
            number = min(filter(str.isdecimal, self.ids or self.names), default="1")
            return f"classes are called by numbers, such as {number!r} (no indices): write all digits"
        return f"expected an id, a name or an index from 0 to {self.count - 1}"

    @cached_property
    def _by_wordnet_id(self) -> dict[str, int]:
        """The classes by WordNet id, matched by all names of the id or by the first of them."""
        imagenet = read_labels("imagenet")
        names_of = {**dict(zip(imagenet.ids, imagenet.names, strict=True)), **_read_word_list(self._near)}
        short = _unique([name.split(",")[0] for name in self.names])
        indices = list(self.names.values())
        by_id: dict[str, int] = {}
        for id_, name in names_of.items():
            position = short.get(nfc(name).split(",")[0])
            index = self.names.get(nfc(name), None if position is None else indices[position])
            if index is not None:
                by_id[id_] = index
        return by_id


def _key(name: str) -> str:
    return nfc(name).strip()                       # tables lose the blanks of a folder "cat "


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Return the index of each name that occurs once."""
    counts = Counter(names)
    return {name: index for index, name in enumerate(names) if counts[name] == 1}


def _read_word_list(near: Path | None) -> dict[str, str]:
    folders = [near, *near.absolute().parents][:_LEVELS] if near else []
    files = [folder / name for folder in folders for name in WORD_LISTS if (folder / name).is_file()]
    lines = read_text(files[0]).content.splitlines() if files else []
    matches = (re.fullmatch(r"(n[0-9]{8})\s+(\S.*)", line.rstrip()) for line in lines)
    return {match[1]: match[2] for match in matches if match}
