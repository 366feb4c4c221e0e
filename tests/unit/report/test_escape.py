"""Names of any bytes: one line for people, valid UTF-8 in files, and the very same name when they are read again."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wideresnet.report.escape import cell_text, json_text, line_text, printable, unescaped

ODD = [
    "caf\udce9.png", "a\nb\r.png", "title\x1b]0;x\x07.png", "tab\t.png", "c1\x9b31m.png", "turned\u202egnp.png",
    "line\u2028.png", "\\udce9.png", "\\\udce9.png", "\\u\udce9", "\\u005c", "\\\\u0041",
]  # fmt: skip
names = st.one_of(st.sampled_from(ODD), st.binary(min_size=1).map(os.fsdecode), st.text("\\u0dce9\udce9\n\x1b"))


@given(name=names)
def test_cells_and_lines_are_valid_utf8_and_come_back(name: str) -> None:
    """What is read from a cell or a line is the name that was written, so no two names become one."""
    for written in (cell_text(name), line_text(name)):
        assert unescaped(written.encode("utf-8").decode("utf-8")) == name
    assert len(line_text(name).splitlines()) <= 1


@given(name=names)
def test_json_is_valid_utf8_and_any_reader_turns_it_back(name: str) -> None:
    """A lone byte is JSON's own escape, and a terminal that shows the document obeys no control character."""
    document = json_text({name: [name]}, indent=1)
    assert json.loads(document.encode("utf-8")) == {name: [name]}
    assert not [char for char in document if unicodedata.category(char) in ("Cc", "Cs") and char != "\n"]


@given(name=names)
def test_what_people_read_is_one_line_without_control_characters(name: str) -> None:
    """A name cannot colour or rename the terminal, nor pretend to be two files."""
    shown = printable(name)
    assert len(shown.splitlines()) <= 1
    assert not [char for char in shown if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "name", ["cat.png", "käse, 1.png", "猫 (2).jpg", "C:\\users\\a.png", "a\\b", "\U0001f431\u200d.png"]
)
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    """Only what would break a line or the encoding is escaped."""
    assert printable(name) == cell_text(name) == line_text(name) == name
    assert json_text(name) == json.dumps(name, ensure_ascii=False)


def test_the_forms_are_those_of_the_documents() -> None:
    """docs/output.md states them."""
    assert printable("a\nb\x1b[0m\udce9\u202e") == r"a\nb\x1b[0m\udce9\u202e"
    assert line_text("a\nb\x1b[0m\udce9") == r"a\u000ab\u001b[0m\udce9"
    assert cell_text("a\nb\udce9 \\u0041") == "a\nb\\udce9 \\u005cu0041"
    assert json_text("\udce9") == r'"\udce9"'
