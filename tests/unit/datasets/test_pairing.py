"""Answers find their images by name, and stay alone rather than go to a wrong one."""

from __future__ import annotations

import unicodedata

import pytest

from wideresnet.datasets.pairing import folder_of, pair_by_name


def pairs(images: str, answers: str) -> list[tuple[str, str]]:
    return sorted(pair_by_name(images.split(), answers.split()).items())


@pytest.mark.parametrize(
    ("images", "answers", "expected"),
    [
        ("val/n1/a.JPEG val/n2/b.JPEG", "val/n2/b.JPEG val/n1/a.JPEG", ["val/n1/a.JPEG", "val/n2/b.JPEG"]),
        ("val/a.JPEG val/b.JPEG", "/npz/n2/b.npz /npz/n1/a.npz", ["/npz/n1/a.npz", "/npz/n2/b.npz"]),
        ("n1/a.b.JPEG n1/a.JPEG", "a.npz a.b.npz", ["a.b.npz", "a.npz"]),
        ("C/x/1.png C/y/1.png", "D\\y\\1.npz D\\x\\1.npz", ["D\\x\\1.npz", "D\\y\\1.npz"]),
        ("r/a/x/1.png r/b/x/1.png", "s/b/x/1.png s/a/x/1.png", ["s/a/x/1.png", "s/b/x/1.png"]),
        ("x/1.png y/x/1.png", "x/1.npz y/x/1.npz", ["x/1.npz", "y/x/1.npz"]),
        ("a/1.png a/1.jpg", "b/1.jpg b/1.png", ["b/1.png", "b/1.jpg"]),
        ("n1/.hidden", "n1/.hidden", ["n1/.hidden"]),
    ],
)
def test_by_name_and_where_that_is_not_enough_by_folders_and_ending(
    images: str, answers: str, expected: list[str]
) -> None:
    assert pairs(images, answers) == sorted(zip(images.split(), expected, strict=True))


@pytest.mark.parametrize(
    ("images", "answers", "expected"),
    [
        ("cat/1.png dog/1.png", "cat/1.npz", [("cat/1.png", "cat/1.npz")]),          # the dog has none
        ("cat/1.png", "cat/1.npz dog/1.npz", [("cat/1.png", "cat/1.npz")]),
        ("val/1.png", "cat/1.npz dog/1.npz", []),
        ("cat/1.png dog/1.png", "x/1.npz", []),
        ("cat/1.png dog/1.png", "cat/1.npz x/1.npz", [("cat/1.png", "cat/1.npz")]),
        ("a.png b.png", "out_0.npz out_1.npz", []),
        ("a.png", "", []),
    ],
)
def test_what_is_not_clear_stays_alone(images: str, answers: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(images, answers) == expected


def test_a_missing_answer_shifts_no_other() -> None:
    images = [f"val/{i:08}.JPEG" for i in range(100)]
    answers = [f"out/{i:08}.npz" for i in range(100) if i != 40]
    pairs = pair_by_name(images, answers)
    assert len(pairs) == 99
    assert all(image[4:12] == answer[4:12] for image, answer in pairs.items())


def test_the_folder_of_a_path() -> None:
    assert [folder_of(path) for path in ("/v/n1/a.JPEG", "v\\n1\\a.JPEG", "a.JPEG")] == ["n1", "n1", ""]


def test_accents_are_the_same_composed_and_decomposed_until_they_alone_tell_two_files_apart() -> None:
    composed, decomposed = (unicodedata.normalize(form, "é/é.png") for form in ("NFC", "NFD"))
    assert pair_by_name([composed], [decomposed]) == {composed: decomposed}
    both = [composed, decomposed]
    assert pair_by_name(both, both) == {composed: composed, decomposed: decomposed}
    assert pair_by_name(["Cat.png"], ["cat.png"]) == {}
    assert folder_of(decomposed) == "é"
