"""What an evaluation runs over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wideresnet.records import Item


@dataclass(frozen=True, eq=False)
class LabelledData:
    """A labelled set: every item's ``label`` is a class index in 0 .. classes - 1."""

    name: str                                      # of the set, for reports: "cifar10 test"
    items: Sequence[Item]
    classes: int                                   # of the label list: a subset keeps its 1000
