"""What people call a class, to its index."""

from __future__ import annotations

from collections import Counter

from wideresnet.records import Labels


class ClassLookup:
    """Finds classes by id (``n01440764``), by name where only one class has it, or by index (``17``, from 0)."""

    def __init__(self, labels: Labels) -> None:
        self.count = len(labels.names)
        self.ids = {id_: index for index, id_ in enumerate(labels.ids)}
        times = Counter(labels.names)
        self.names = {name: index for index, name in enumerate(labels.names) if times[name] == 1}
        self.shared = {name for name in times if times[name] > 1}

    def find(self, name: str) -> int | None:
        """The index of the class called ``name``, or None."""
        if name in self.ids:
            return self.ids[name]
        if name in self.names:
            return self.names[name]
        if name.isascii() and name.isdecimal() and int(name) < self.count:
            return int(name)
        return None
