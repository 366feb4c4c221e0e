"""What can be said of a file's name before any work, and what is never written over."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.output import atomic
from wideresnet.output.atomic import (
    atomic_folder,
    atomic_pair,
    atomic_path,
    check_file,
    check_folder,
    exchange,
    restore_folder,
    save_text,
)  # fmt: skip


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


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file, link = tmp_path / "elsewhere" / "real.csv", tmp_path / "link.csv"
    file.write_text("old")
    link.symlink_to(file)
    save_text(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == ["real.csv"]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files have names in /proc")
def test_an_open_file_is_no_output_by_whatever_name(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        direct = Path(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "link").symlink_to(direct)
        (tmp_path / "link to it").symlink_to("link")
        for name in (direct, Path(f"/dev/fd/{file.fileno()}"), tmp_path / "link", tmp_path / "link to it"):
            with pytest.raises(ConfigError, match="not a regular file"):
                check_file(name)


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


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_with_and_without_an_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(atomic, "exchange", lambda first, second: False)
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "folder") as part:
            (part / name).write_text(name)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "two"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two names in one step")
def test_an_exchange_needs_both_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not exchange(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b").write_text("")
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").is_dir()


def test_a_folder_moved_aside_by_a_killed_process_is_moved_back(tmp_path: Path) -> None:
    (tmp_path / ".folder.old").mkdir()
    (tmp_path / ".folder.old" / "file").write_text("")
    restore_folder(tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]
    (tmp_path / ".folder.old").mkdir()             # a process killed after its second step: the new one stays
    restore_folder(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").exists()


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"out": "old", "out.paths": "old", ".out.parts/out": "n", ".out.parts/out.paths": "n"}, ("old", "old")),
        ({"out": "old", ".out.parts/old": "old", ".out.parts/out": "n", ".out.parts/out.paths": "n"}, ("old", "old")),
        ({"out": "new", ".out.parts/old": "old", ".out.parts/out.paths": "new"}, ("new", "new")),
        ({"out": "new", "out.paths": "new", ".out.parts/old": "old"}, ("new", "new")),
        ({"out": "new", ".out.parts/out.paths": "new"}, ("new", "new")),
        ({".out.parts/out": "n", ".out.parts/out.paths": "n"}, (None, None)),
        ({"out": "old", ".out.parts/out": "n", ".out.parts/out.paths": "n"}, ("old", None)),
    ],
)
def test_whatever_step_a_process_was_killed_at_the_next_one_finds_two_files_of_one_run(
    tmp_path: Path, state: dict[str, str], expected: tuple[str | None, str | None]
) -> None:
    file, companion = tmp_path / "out", tmp_path / "out.paths"
    (tmp_path / ".out.parts").mkdir()
    for name, text in state.items():
        (tmp_path / name).write_text(text)
    with suppress(ZeroDivisionError), atomic_pair(file, companion):
        raise ZeroDivisionError
    assert tuple(path.read_text() if path.exists() else None for path in (file, companion)) == expected
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "out.paths"}
