"""Labelled images: a data set, or a part of one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from wideresnet.errors import ConfigError, DataError
from wideresnet.records import EncodedImage, Exif, Item, Skipped
from wideresnet.report.escape import printable


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A labelled set, or a part of one: every item's ``label`` is a class index in 0 .. classes - 1."""

    name: str                                      # of the set, for reports: "cifar10 test"
    items: Sequence[Item]
    classes: int                                   # of the label list: a subset keeps its 1000
    part: str = ""                                 # "2/4": the second of four parts of ``parent``
    parent: LabelledData | None = None             # the full set that this was taken from
    exif: Exif = "ignore"                          # photographs are turned upright only where the user says so
    skipped: Skipped = field(default_factory=Skipped)        # files beside the images of the full set
    notes: tuple[str, ...] = ()                    # assumptions about the files it was read from

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))

    @property
    def full_set(self) -> LabelledData:
        """The set that this is a part of, or this one."""
        return self.parent or self

    @cached_property
    def present(self) -> tuple[int, ...]:
        """The classes with images in the full set, ascending."""
        return tuple(sorted({item.label for item in self.full_set.items if item.label is not None}))

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The number of images of each class."""
        counts = Counter(item.label for item in self.items)
        return tuple(counts[index] for index in range(self.classes))

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the full set: name, label and size of each image in order, and the pixels of arrays."""
        digest = hashlib.sha256()
        for item in self.full_set.items:
            digest.update(f"{Path(item.path).name}\t{item.label}\t".encode("utf-8", "surrogateescape"))
            digest.update(fingerprint(item))
        return digest.hexdigest()

    def take_part(self, part: str) -> LabelledData:
        """Return every n-th image from the i-th on, for ``part`` = "i/n" with i from 1 to n.

        Raises ConfigError for another text, and DataError where the part is empty.
        """
        first, sign, count = part.partition("/")
        if not (sign and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
            raise ConfigError(f"a shard is i/n with i from 1 to n, got {part!r}", hint="the second of four is 2/4")
        items = self.items[int(first) - 1 :: int(count)]
        if not items:
            raise DataError(f"{self.name} has {len(self.items)} images: none of them is in shard {part}")
        return replace(self, items=items, part=f"{int(first)}/{int(count)}", parent=self)


def fingerprint(item: Item) -> bytes:
    """Return bytes that identify an image without reading it: its size; the pixels of an array."""
    if isinstance(item.source, np.ndarray):
        return np.ascontiguousarray(item.source).tobytes()
    if isinstance(item.source, EncodedImage):
        return item.source.fingerprint.encode()
    try:
        return str(item.source.stat().st_size if isinstance(item.source, Path) else len(item.source)).encode()
    except OSError:                                # reported when the image is read
        return b"-"
