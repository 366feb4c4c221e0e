from __future__ import annotations

from collections import Counter

import pytest

from wideresnet.data.labels import KNOWN, format_labels, parse_labels, read_labels
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Labels


@pytest.mark.parametrize(
    ("name", "classes"), [("imagenet", 1000), ("cifar10", 10), ("cifar100", 100), ("svhn", 10)]
)
def test_the_lists_that_come_along(name, classes):
    labels = read_labels(name)
    assert len(labels.names) == classes
    assert parse_labels(format_labels(labels)) == labels


def test_every_list_in_the_package_is_known():
    assert {name for name in KNOWN if read_labels(name)} == set(KNOWN)


def test_imagenet_is_in_the_order_of_the_sorted_ids():
    labels = read_labels("imagenet")
    assert list(labels.ids) == sorted(set(labels.ids))
    assert (labels.ids[0], labels.names[0]) == ("n01440764", "tench, Tinca tinca")
    assert labels.names[281].startswith("tabby")
    assert (labels.ids[999], labels.names[999].split(",")[0]) == ("n15075141", "toilet tissue")


def test_the_two_cranes_stay_two():
    """The bird and the machine: names repeat, ids don't."""
    labels = read_labels("imagenet")
    assert [name for name, times in Counter(labels.names).items() if times > 1] == ["crane"]
    assert [index for index, name in enumerate(labels.names) if name == "crane"] == [134, 517]


def test_cifar_lists_are_the_official_order():
    assert read_labels("cifar10").names[:4] == ("airplane", "automobile", "bird", "cat")
    fine = read_labels("cifar100").names
    assert list(fine) == sorted(fine)
    assert (fine[0], fine[99]) == ("apple", "worm")


def test_an_unknown_list_gets_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        read_labels("cifar-10")
    assert "'cifar10'" in caught.value.hint


def test_line_ends_and_byte_order_marks_of_other_systems():
    assert parse_labels("\ufeffa\r\nb\r\n") == Labels(("a", "b"))
    assert parse_labels("n1\tcat\nn2\tcat") == Labels(("cat", "cat"), ("n1", "n2"))


@pytest.mark.parametrize(
    "text", ["", "a\n\nb\n", "n1\tcat\ndog\n", "a\tb\tc\n", "\tcat\n", "n1\tcat\nn1\tdog\n"]
)
def test_what_is_no_label_list_is_an_error(text):
    with pytest.raises(DataError):
        parse_labels(text)


@pytest.mark.parametrize("name", ["", " ", "a\tb", "a\nb", "a\x85b"])
def test_names_that_would_break_the_lines_are_not_written(name):
    with pytest.raises(DataError):
        format_labels(Labels((name, "fine")))
