"""Classes are found by id, by a name that is alone, and by index, however their accents are written."""

from __future__ import annotations

import unicodedata

from wideresnet.datasets.lookup import ClassLookup
from wideresnet.records import Labels


def test_by_id_then_by_name_then_by_index() -> None:
    lookup = ClassLookup(Labels(("cat", "2", "crane", "crane"), ("n1", "n2", "n3", "cat")))
    assert [lookup.find(name) for name in ("n1", "2", "crane", "cat", "3", "4", "-1", "٣", "9" * 5000)] == [
        0, 1, None, 3, 3, None, None, None, None,
    ]  # fmt: skip
    assert lookup.shared == {"crane"}


def test_where_names_are_numbers_no_number_is_an_index() -> None:
    """A spreadsheet makes 1 of 001, which is not the class with the index 1."""
    lookup = ClassLookup(Labels(("001", "002", "003")))
    assert [lookup.find(name) for name in ("001", "003", "1", "0", "2")] == [0, 2, None, None, None]
    assert lookup.expected == (
        "classes are called by numbers, such as '001' (no indices): write all digits"
    )
    assert ClassLookup(Labels(("0", "2", "3"))).find("1") is None
    assert ClassLookup(Labels(tuple(map(str, range(10))))).find("7") == 7
    cards = ClassLookup(Labels(("10", "2", "3", "A", "J")))
    assert [cards.find(name) for name in ("10", "2", "3", "A", "0", "1", "4")] == [0, 1, 2, 3, None, None, None]


def test_accents_composed_and_decomposed_are_the_same() -> None:
    for form in ("NFC", "NFD"):
        lookup = ClassLookup(Labels(tuple(unicodedata.normalize(form, name) for name in ("é", "ñ"))))
        assert [lookup.find(unicodedata.normalize(form, "ñ")) for form in ("NFC", "NFD")] == [1, 1]


def test_two_classes_that_differ_in_accents_alone_are_shared() -> None:
    lookup = ClassLookup(Labels(("é", unicodedata.normalize("NFD", "é"))))
    assert lookup.find("é") is None
    assert lookup.shared == {"é"}


def test_blanks_at_the_ends_of_names_do_not_count() -> None:
    """A table loses those of a folder "cat "."""
    lookup = ClassLookup(Labels(("cat ", "dog", " dog")))
    assert ([lookup.find(name) for name in ("cat", "cat ", "dog")], lookup.shared) == ([0, 0, None], {"dog"})


def test_case_tells_classes_apart() -> None:
    lookup = ClassLookup(Labels(("Polish", "polish")))
    assert [lookup.find(name) for name in ("Polish", "polish", "POLISH")] == [0, 1, None]


def test_wordnet_ids_find_names_where_the_labels_have_no_ids() -> None:
    assert ClassLookup(Labels(("goldfish", "tench, Tinca tinca"))).find("n01440764") == 1
    assert ClassLookup(Labels(("crane", "tench"))).find("n01443537") is None
    assert ClassLookup(Labels(("tench",), ("other",))).find("n01440764") is None
