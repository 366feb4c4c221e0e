"""Files that were not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skipped:
    """Files that were skipped in folders, stores and archives. Records add up with ``+``.

    ``by_ending`` counts files by their ending in lower case ("" for none); ``hidden`` files that are hidden or that
    systems create (Thumbs.db); ``system_folders`` such folders. ``notes`` are sentences on splits that were used or
    left out, and on classes without images.
    """

    by_ending: Mapping[str, int] = field(default_factory=dict)
    hidden: int = 0
    system_folders: int = 0
    notes: tuple[str, ...] = ()

    def __add__(self, other: Skipped) -> Skipped:
        counts = dict(Counter(self.by_ending) + Counter(other.by_ending))
        notes = tuple(dict.fromkeys((*self.notes, *other.notes)))
        return Skipped(counts, self.hidden + other.hidden, self.system_folders + other.system_folders, notes)
