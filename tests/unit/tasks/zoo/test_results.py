"""The zoo's result.txt: every form of it that is clear is read, and every other one refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.errors import DataError
from wideresnet.tasks.zoo.results import Results, read_results

LINES = """\
val/n1/a b.JPEG: Relay top-0 id: 7, prob: 0.75000000, class name: tench, Tinca tinca
val/n1/a b.JPEG: Relay top-1 id: 2, prob: 1e-05, class name: crane
val/n2/c.JPEG: Relay top-0 id: 2, prob: 1.00000000, class name: crane
val/n2/c.JPEG: Relay top-1 id: 7, prob: 0.00000000, class name: tench, Tinca tinca
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "result.txt"


def read(file: Path, text: str) -> Results:
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return read_results(file)


def test_each_image_has_its_classes_in_order(file: Path) -> None:
    results = read(file, LINES)
    assert results.answers == {
        "val/n1/a b.JPEG": ((7, 0.75), (2, 1e-05)),
        "val/n2/c.JPEG": ((2, 1.0), (7, 0.0)),
    }
    assert (results.max_k, results.probable, results.doubled) == (2, True, 0)


def test_however_the_file_was_saved(file: Path) -> None:
    """From one on, with Windows' line ends and mark, blank lines, the lines in any order, no end of the last."""
    plain = read(file, LINES).answers
    first, *rest = LINES.replace("top-1", "top-2").replace("top-0", "top-1").splitlines()
    mixed = "\ufeff" + "\r\n\r\n".join([*rest, first])
    assert dict(read(file, mixed).answers) == dict(plain)


def test_in_utf16_as_a_shell_of_windows_redirects_it(file: Path) -> None:
    plain = read(file, LINES).answers
    file.write_bytes(LINES.replace("\n", "\r\n").encode("utf-16"))
    assert dict(read_results(file).answers) == dict(plain)


@pytest.mark.parametrize(
    "path",
    [
        "C:\\data\\n1: x\\a.JPEG",
        "odd: Relay top-0 id: 5, prob: 0.5, class name: cat/n1/a.JPEG",
        "a, prob: 0.5/b.JPEG",
        "caf\udce9/a.JPEG",
        "a\u2028b\x85c.JPEG",
        " lead and trail .JPEG ",
    ],
)
def test_paths_may_hold_anything(file: Path, path: str) -> None:
    results = read(file, f"{path}: Relay top-0 id: 1, prob: 0.5, class name: odd: name, prob: 7\n")
    assert results.answers == {path: ((1, 0.5),)}


def test_a_name_may_be_empty_or_hold_commas_and_colons(file: Path) -> None:
    assert read(file, "a: Relay top-0 id: 1, prob: 2.5, class name: \n").answers == {"a": ((1, 2.5),)}


def test_any_number_of_lines_and_the_fewest_are_what_is_known(file: Path) -> None:
    fewer = "".join(LINES.splitlines(keepends=True)[:3])
    assert read(file, fewer).max_k == 1


@pytest.mark.parametrize("share", ["-3.5", "1.2", "12.75"])
def test_logits_are_no_probabilities(file: Path, share: str) -> None:
    assert not read(file, LINES.replace("0.75000000", share)).probable


def test_the_same_run_appended_twice_counts_once(file: Path) -> None:
    once, twice = read(file, LINES), read(file, LINES + LINES)
    assert twice.answers == once.answers
    assert (once.doubled, twice.doubled) == (0, 4)


def test_another_run_appended_is_an_error_that_says_so(file: Path) -> None:
    with pytest.raises(DataError, match=r"line 5 of .* top-0 is 3 with 0\.75, an earlier line that it is 7") as caught:
        read(file, LINES + LINES.replace("id: 7", "id: 3"))
    assert "appended" in caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "a.JPEG: Relay top-0 id: 1, prob: 0.5",
        "a.JPEG: Relay top-x id: 1, prob: 0.5, class name: cat",
        "a.JPEG: Relay top-0 id: -1, prob: 0.5, class name: cat",
        "a.JPEG: Relay top-0 id: 1, prob: nan, class name: cat",
        "a.JPEG: Relay top-0 id: 1, prob: inf, class name: cat",
        "a.JPEG: Relay top-0 id: 1, prob: 0,5, class name: cat",
        ": Relay top-0 id: 1, prob: 0.5, class name: cat",
        "a.JPEG,cat",
        "x" * 500,
    ],
)
def test_a_line_of_another_form_is_named(file: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"line 6 of .*result\.txt is no answer: '") as caught:
        read(file, f"{LINES}\n{line}\n")
    assert len(caught.value.message) < 400
    assert "Relay top-0" in caught.value.hint


def test_a_lost_line_is_missed(file: Path) -> None:
    rows = LINES.splitlines(keepends=True)
    with pytest.raises(DataError, match=r"no line top-0 of val/n1/a b\.JPEG"):
        read(file, "".join(rows[1:]))
    gap = rows[0] + rows[1].replace("top-1", "top-2")
    with pytest.raises(DataError, match="no line top-1"):
        read(file, gap)
    with pytest.raises(DataError, match="no line top-1"):
        read(file, rows[0].replace("top-0", "top-2"))


def test_one_class_has_one_place(file: Path) -> None:
    with pytest.raises(DataError, match="one class two ranks"):
        read(file, LINES.replace("id: 2, prob: 1e-05", "id: 7, prob: 1e-05"))


def test_nothing_is_no_result(file: Path) -> None:
    with pytest.raises(DataError, match="holds no answers"):
        read(file, "\n\n")
    with pytest.raises(DataError, match="cannot read"):
        read_results(file.parent / "absent.txt")
