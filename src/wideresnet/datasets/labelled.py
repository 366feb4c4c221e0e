"""What an evaluation runs over."""

from __future__ import annotations

import hashlib
import os
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
    shard: str = ""                                # "2/4": which part of ``whole`` this is
    whole: LabelledData | None = None
    exif: Exif = "ignore"                          # whether its photographs are turned upright, as no published set is
    skipped: Skipped = field(default_factory=Skipped)        # what lies beside the images of the whole set
    notes: tuple[str, ...] = ()                    # what was assumed of the files it was read from

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))

    @cached_property
    def present(self) -> tuple[int, ...]:
        """The classes that the whole set holds images of, ascending."""
        return tuple(sorted({item.label for item in (self.whole or self).items if item.label is not None}))

    @cached_property
    def sha256(self) -> str:
        """Of the whole set: every image's name, label and size in order; of arrays their pixels too."""
        digest = hashlib.sha256()
        for item in (self.whole or self).items:
            digest.update(f"{Path(item.path).name}\t{item.label}\t".encode("utf-8", "surrogateescape"))
            digest.update(fingerprint(item))
        return digest.hexdigest()

    def part(self, shard: str) -> LabelledData:
        """Every n-th image from the i-th on, for ``shard`` = "i/n", i from 1: together they are the whole.

        Raises ConfigError for another text, and DataError where the part would be empty.
        """
        first, sign, count = shard.partition("/")
        if not (sign and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
            raise ConfigError(f"a shard is i/n with i from 1 to n, got {shard!r}", hint="the second of four is 2/4")
        items = self.items[int(first) - 1 :: int(count)]
        if not items:
            raise DataError(f"{self.name} has {len(self.items)} images: nothing is left for shard {shard}")
        return replace(self, items=items, shard=f"{int(first)}/{int(count)}", whole=self)


def notes_on_shared(*sets: LabelledData) -> tuple[str, ...]:
    """A sentence for each two of ``sets`` that share files, also by a link to a folder: such a figure is too good."""
    real: dict[str, str] = {}
    owners: dict[tuple[str, str], str] = {}
    shared: Counter[tuple[str, str]] = Counter()
    for data in sets:
        for item in data.items:
            folder, name = os.path.split(item.path)
            if folder not in real:
                real[folder] = os.path.realpath(folder)
            owner = owners.setdefault((real[folder], name), data.name)
            shared[owner, data.name] += owner != data.name
    return tuple(
        f"{count:,} images are in {one} and in {other}, so that the figure on {other} is too good"
        for (one, other), count in shared.items()
        if count
    )


def fingerprint(item: Item) -> bytes:
    """What stands for the content of an image without reading it: its size; of arrays, the pixels themselves."""
    if isinstance(item.source, np.ndarray):
        return np.ascontiguousarray(item.source).tobytes()
    if isinstance(item.source, EncodedImage):
        return item.source.fingerprint.encode()
    try:
        return str(item.source.stat().st_size if isinstance(item.source, Path) else len(item.source)).encode()
    except OSError:                                # a failure of the evaluation, not of this
        return b"-"
