"""What can be said of a file's name before any work, and what is never written over."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.output.atomic import atomic_folder, atomic_path, check_file, check_folder, save_text


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    """Writing beside it and renaming would make a plain file of /dev/null, for whoever may do that."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path(os.devnull)):
        with pytest.raises(ConfigError, match=r"cannot write .*: not a regular file"):
            save_text(path, "text")
        with pytest.raises(ConfigError, match="Not a directory"):
            check_folder(path)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert pipe.is_fifo()


def test_the_reason_is_named_in_the_words_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the file's place, a file in a folder's place, and a folder that may not be written to."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Is a directory"):
        check_file(tmp_path)
    for check in (check_file, check_folder):
        with pytest.raises(ConfigError, match="file: Not a directory"):
            check(tmp_path / "file" / "deep" / "x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for check in (check_file, check_folder):
        with pytest.raises(ConfigError, match=f"cannot write .*x: {tmp_path}: Permission denied"):
            check(tmp_path / "missing" / "x")


def test_missing_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    """Neither is a reason to refuse."""
    check_folder(tmp_path / "a" / "b")
    for text in ("one", "two"):
        check_file(tmp_path / "a" / "b" / "c.txt")
        save_text(tmp_path / "a" / "b" / "c.txt", text)
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "two"


@pytest.mark.parametrize("fsync", [True, False])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, fsync: bool) -> None:
    for error in (None, ZeroDivisionError):
        with suppress(ZeroDivisionError), atomic_path(tmp_path / "a.txt", fsync=fsync) as part:
            part.write_text("old" if error is None else "new")
            assert part.parent == tmp_path
            if error:
                raise error
        assert (tmp_path / "a.txt").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_an_older_one_with_all_its_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "new" / "folder") as part:
            (part / name).write_text(name)
        assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [name]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "new" / "folder") as part:
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["folder", "two"]
