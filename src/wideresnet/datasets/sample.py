"""A few images that stand for many: deterministic, the same number of each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from wideresnet.records import Item


def balanced_sample(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` of ``items``, evenly spaced within each class; the classes take turns in the result.

    Unlabelled items are one class. The same items give the same sample. Where a class has too few, the others
    make up for it.
    """
    classes: defaultdict[int, list[Item]] = defaultdict(list)
    for item in items:
        classes[-1 if item.label is None else item.label].append(item)
    members = [classes[label] for label in sorted(classes)]
    chosen = [
        [group[place * len(group) // quota] for place in range(quota)]
        for group, quota in zip(members, _quotas([len(group) for group in members], count), strict=True)
    ]
    longest = max(map(len, chosen), default=0)
    return [group[turn] for turn in range(longest) for group in chosen if turn < len(group)]


def _quotas(sizes: list[int], count: int) -> list[int]:
    """How many of each class: one each in turn, until ``count`` are given out or none is left."""
    quotas = [0] * len(sizes)
    left = min(count, sum(sizes))
    while left:
        for place, size in enumerate(sizes):
            if left and quotas[place] < size:
                quotas[place] += 1
                left -= 1
    return quotas
