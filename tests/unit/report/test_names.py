"""Each class has a name of its own, and an image the end of its path."""

from __future__ import annotations

from wideresnet.datasets.labels import read_labels
from wideresnet.records import Labels
from wideresnet.report.names import class_names, image_name


def test_of_synonyms_the_first_is_taken_and_no_two_classes_share_a_name() -> None:
    labels = read_labels("imagenet")
    name = class_names(labels)
    assert name(0) == "tench"
    assert len({name(index) for index in range(1000)}) == 1000
    assert {name(134), name(517)} == {"crane (n02012849)", "crane (n03126707)"}


def test_names_of_ones_own_stay_whole() -> None:
    name = class_names(Labels(("red, ripe", "green", "green")))
    assert [name(index) for index in range(4)] == ["red, ripe", "green (1)", "green (2)", "class 3"]
    assert name(-1) == "class -1"


def test_a_image_is_called_by_its_folder_and_file() -> None:
    assert image_name("/data/val/n01440764/a.JPEG") == "n01440764/a.JPEG"
    assert image_name("a.png") == "a.png"
