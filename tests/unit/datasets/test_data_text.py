"""Text of other systems is decoded by its mark, else as UTF-8, else as Windows-1252 with a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wideresnet.datasets.text import decode_text, read_text
from wideresnet.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_is_marked_or_is_utf8_needs_no_word(encoding: str) -> None:
    text = decode_text("Äpfel".encode(encoding), "x")
    assert (text.content, text.note) == ("Äpfel", "")


def test_windows_1252_is_said_and_keeps_the_bytes_of_names() -> None:
    text = decode_text(b"\xc4pfel \x81 \x80", "list.txt")
    assert text.content == "Äpfel \udc81 €"
    assert text.note.startswith("list.txt is not in UTF-8; Windows-1252")
    assert text.raw_name("Ä\udc81€") == os.fsdecode(b"\xc4\x81\x80")


@pytest.mark.parametrize("data", [b"a\0b", "ab".encode("utf-16-le"), b"\xff\xfea", b"\xef\xbb\xbf\xff\0"])
def test_what_is_no_text_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(DataError, match=r"^x\.csv is not text"):
        decode_text(data, "x.csv")


def test_a_missing_a_large_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("ab" * 10)
    assert read_text(tmp_path / "x", 20).content == "ab" * 10
    with pytest.raises(DataError, match="larger than"):
        read_text(tmp_path / "x", 19)
    for name in ("absent", "."):
        with pytest.raises(DataError, match="cannot read"):
            read_text(tmp_path / name)
