from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.images.files import find_pictures


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_pictures([root])]


def test_pictures_only_recursively_and_sorted(tmp_path):
    tree(
        tmp_path,
        "b.JPG",
        "a.png",
        "notes.txt",
        "a/x.jpeg",
        "a/deep/er/y.webp",
        "c/z.tiff",
        "raw.bin",
        "page.svg",
    )
    assert found(tmp_path) == ["a/deep/er/y.webp", "a/x.jpeg", "a.png", "b.JPG", "c/z.tiff"]
    assert list(find_pictures([tmp_path])) == sorted(find_pictures([tmp_path]))


def test_hidden_files_and_folders_are_skipped(tmp_path):
    tree(tmp_path, ".hidden.png", ".git/x.png", "._mac.jpg", "seen.png")
    assert found(tmp_path) == ["seen.png"]


def test_a_file_that_is_named_counts_whatever_its_ending(tmp_path):
    tree(tmp_path, "random.bin", ".hidden.png")
    named = [tmp_path / "random.bin", tmp_path / ".hidden.png"]
    assert list(find_pictures(named)) == named


def test_a_hidden_folder_that_is_named_is_walked(tmp_path):
    tree(tmp_path, ".cache/x.png")
    assert found(tmp_path / ".cache") == ["x.png"]


def test_the_order_of_the_paths_is_kept(tmp_path):
    tree(tmp_path, "b/1.png", "a/2.png")
    assert [path.name for path in find_pictures([tmp_path / "b", tmp_path / "a"])] == ["1.png", "2.png"]


def test_names_outside_ascii(tmp_path):
    tree(tmp_path, "naïve name – ü 猫.jpg")
    assert found(tmp_path) == ["naïve name – ü 猫.jpg"]


def test_links_in_a_circle_end(tmp_path):
    tree(tmp_path, "a/x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert found(tmp_path) == ["a/x.png", "self.png"]


def test_a_link_to_nowhere_is_yielded_to_be_reported(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert found(tmp_path) == ["gone.jpg"]


def test_what_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.jpg"):
        list(find_pictures([tmp_path / "nothing.jpg"]))


def test_folders_are_listed_when_their_turn_comes(tmp_path, monkeypatch):
    """A folder at a time: the first picture is there before the last folder is looked at."""
    tree(tmp_path, *(f"{k}/x.png" for k in range(9)))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    list(itertools.islice(find_pictures([tmp_path]), 2))
    assert len(listed) == 3


def test_the_disk_is_not_asked_about_each_file(tmp_path, monkeypatch):
    tree(tmp_path, *(f"{k}/{i}.png" for k in range(2) for i in range(50)))
    asked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: asked.append(path) or stat(path, **how))
    assert len(list(find_pictures([tmp_path]))) == 100
    assert len(asked) < 10


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_yielded_itself(tmp_path):
    tree(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "a").chmod(0)
    try:
        assert found(tmp_path) == ["a", "b/y.png"]
    finally:
        (tmp_path / "a").chmod(0o755)
