"""A sample is the same every time, balanced over classes, and spread within each."""

from __future__ import annotations

from collections import Counter

from wideresnet.datasets.sample import balanced_sample
from wideresnet.records import Item


def items(*labels: int | None) -> list[Item]:
    return [Item(f"{index:04d}", b"", label) for index, label in enumerate(labels)]


def test_every_class_gets_its_share() -> None:
    many = items(*[0] * 90, *[1] * 7, *[2] * 300)
    assert Counter(item.label for item in balanced_sample(many, 15)) == {0: 5, 1: 5, 2: 5}


def test_a_class_that_has_too_few_leaves_its_place_to_the_others() -> None:
    assert Counter(item.label for item in balanced_sample(items(*[0] * 50, 1), 21)) == {0: 20, 1: 1}


def test_a_sample_of_nothing_is_empty() -> None:
    assert [balanced_sample(items(0, 1), count) for count in (0, -5)] == [[], []]


def test_a_sample_is_spread_over_its_class_and_has_no_image_twice() -> None:
    chosen = [int(item.path) for item in balanced_sample(items(*[0] * 100), 8)]
    assert chosen == [0, 12, 25, 37, 50, 62, 75, 87]


def test_the_same_items_give_the_same_sample_and_all_of_them_when_there_are_few() -> None:
    sample = items(*[3, None] * 9)
    assert balanced_sample(sample, 5) == balanced_sample(sample, 5)
    assert sorted(item.path for item in balanced_sample(sample, 99)) == [item.path for item in sample]
    assert balanced_sample([], 5) == []
