"""A deterministic sample of images with the same number of each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from wideresnet.records import Item


def balanced_sample(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most ``count`` of ``items``, evenly spaced within each class, with the classes interleaved.

    Unlabelled items are one class. The same items give the same sample. Where a class has too few, the others make up
    for it.
    """
    classes: defaultdict[int, list[Item]] = defaultdict(list)
    for item in items:
        classes[-1 if item.label is None else item.label].append(item)
    members = [classes[label] for label in sorted(classes)]
    chosen = [
        [group[index * len(group) // quota] for index in range(quota)]
        for group, quota in zip(members, _quotas([len(group) for group in members], count), strict=True)
    ]
    longest = max(map(len, chosen), default=0)
    return [group[turn] for turn in range(longest) for group in chosen if turn < len(group)]


def _quotas(sizes: list[int], count: int) -> list[int]:
    """Return how many of each class: one of each in turn, until ``count`` are distributed or all are used."""
    quotas = [0] * len(sizes)
    remaining = max(0, min(count, sum(sizes)))
    while remaining:
        for index, size in enumerate(sizes):
            if remaining and quotas[index] < size:
                quotas[index] += 1
                remaining -= 1
    return quotas
