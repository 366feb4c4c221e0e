from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.images import files
from wideresnet.images.files import (
    check_has_images,
    describe_skipped,
    find_images,
    read_folder,
    sift_names,
)
from wideresnet.records import Skipped


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def paths_below(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_images([root])]


def test_images_only_recursively_and_sorted(tmp_path):
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
    assert paths_below(tmp_path) == ["a/deep/er/y.webp", "a/x.jpeg", "a.png", "b.JPG", "c/z.tiff"]
    assert list(find_images([tmp_path])) == sorted(find_images([tmp_path]))


def test_hidden_files_and_folders_are_skipped(tmp_path):
    tree(tmp_path, ".hidden.png", ".git/x.png", "._mac.jpg", "seen.png")
    assert paths_below(tmp_path) == ["seen.png"]


def test_a_file_that_is_named_counts_whatever_its_ending(tmp_path):
    tree(tmp_path, "random.bin", ".hidden.png")
    named = [tmp_path / "random.bin", tmp_path / ".hidden.png"]
    assert list(find_images(named)) == named


def test_locks_and_unfinished_outputs_are_not_counted(tmp_path):
    tree(tmp_path, ".index.csv.lock", ".lock", "answers.csv.part", ".x.json.part", "film.mp4.part", ".lock.png")
    assert skipped(tmp_path) == Skipped({".part": 1}, hidden=1)


def test_a_hidden_folder_that_is_named_is_walked(tmp_path):
    tree(tmp_path, ".cache/x.png")
    assert paths_below(tmp_path / ".cache") == ["x.png"]


def test_the_order_of_the_paths_is_kept(tmp_path):
    tree(tmp_path, "b/1.png", "a/2.png")
    assert [path.name for path in find_images([tmp_path / "b", tmp_path / "a"])] == ["1.png", "2.png"]


def test_names_outside_ascii(tmp_path):
    tree(tmp_path, "naïve name – ü 猫.jpg")
    assert paths_below(tmp_path) == ["naïve name – ü 猫.jpg"]


def test_links_in_a_circle_end(tmp_path):
    tree(tmp_path, "a/x.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    assert paths_below(tmp_path) == ["a/x.png", "self.png"]


def test_links_to_what_contains_the_folder_are_not_followed_but_said(tmp_path):
    """Also by way of a folder elsewhere; links to other folders are."""
    tree(tmp_path, "data/cat/x.png", "data/dog/y.png", "more/z.png")
    for link, target in (("data/cat/all", "data"), ("data/cat/more", "more"), ("more/back", "data"), ("data/up", "")):
        (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    assert paths_below(tmp_path / "data" / "cat") == ["more/z.png", "x.png"]
    assert skipped(tmp_path / "data" / "cat").notes == (
        f"{tmp_path}/data/cat/all leads back to {tmp_path}/data",
        f"{tmp_path}/data/cat/more/back leads back to {tmp_path}/data",
    )
    listing = read_folder(tmp_path / "data")
    assert (listing.folders, listing.skipped.notes) == (
        ["cat", "dog"], (f"{tmp_path}/data/up leads back to {tmp_path}",),
    )  # fmt: skip


def test_a_link_to_nowhere_is_yielded_to_be_reported(tmp_path):
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert paths_below(tmp_path) == ["gone.jpg"]


def test_what_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.jpg"):
        list(find_images([tmp_path / "nothing.jpg"]))


def test_folders_are_listed_when_their_turn_comes(tmp_path, monkeypatch):
    """A folder at a time: the first image is there before the last folder is looked at."""
    tree(tmp_path, *(f"{k}/x.png" for k in range(9)))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    list(itertools.islice(find_images([tmp_path]), 2))
    assert len(listed) == 3


def test_the_disk_is_not_asked_about_each_file(tmp_path, monkeypatch):
    tree(tmp_path, *(f"{k}/{i}.png" for k in range(2) for i in range(50)))
    paths = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: paths.append(path) or stat(path, **options))
    assert len(list(find_images([tmp_path]))) == 100
    assert len(paths) < 10


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_yielded_itself(tmp_path):
    tree(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "a").chmod(0)
    try:
        assert paths_below(tmp_path) == ["a", "b/y.png"]
    finally:
        (tmp_path / "a").chmod(0o755)


def skipped(*paths: Path) -> Skipped:
    walk = find_images(paths)
    for _ in walk:
        pass
    return walk.skipped


def test_what_is_passed_over_is_counted_by_ending(tmp_path):
    """Hidden and system names apart; however often a walk is repeated."""
    tree(tmp_path, "a.jpg", "b.DNG", "in/c.dng", "in/notes.txt", "d.of May", "e.0001", "README", ".DS_Store", "._a.jpg")
    tree(tmp_path, "Thumbs.db", "in/desktop.ini", "@eaDir/a.jpg/SYNO.jpg", "in/.thumbnails/x.png", "in/__MACOSX/y.png")
    walk = find_images([tmp_path])
    assert [len(list(walk)), len(list(walk))] == [1, 1]
    assert walk.skipped == Skipped({"": 3, ".dng": 2, ".txt": 1}, hidden=4, system_folders=3)


def test_counts_of_several_folders_add_up(tmp_path):
    tree(tmp_path, "a/x.txt", "a/y", "b/x.txt", "b/.z")
    both = skipped(tmp_path / "a") + skipped(tmp_path / "b")
    assert both == skipped(tmp_path / "a", tmp_path / "b") == Skipped({"": 1, ".txt": 2}, hidden=1)
    notes = Skipped(notes=("a", "b")) + Skipped(notes=("b", "c"))
    assert notes.notes == ("a", "b", "c")


def test_endings_without_number_are_counted_together(tmp_path):
    tree(tmp_path, *(f"x.a{number}" for number in range(150)))
    counts = skipped(tmp_path).by_ending
    assert (len(counts), counts["other"], sum(counts.values())) == (101, 50, 150)


@pytest.mark.parametrize("name", ["IMG_1", "IMG_1.0001", "portrait. May 2020"])
def test_a_file_without_an_ending_is_taken_if_it_begins_as_an_image(tmp_path, name):
    """Only such a file is opened; signatures of two letters are not enough."""
    (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "BMW list").write_bytes(b"BM and others")
    (tmp_path / "photo.txt").write_bytes(b"\xff\xd8\xff\xe0")
    assert paths_below(tmp_path) == [name]
    assert skipped(tmp_path).by_ending == {"": 1, ".txt": 1}


def test_a_pipe_called_like_an_image_is_yielded_and_another_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert paths_below(tmp_path) == ["pipe.jpg"]
    assert skipped(tmp_path).by_ending == {"": 1}


def test_a_folder_without_images_is_an_error_that_says_what_is_there(tmp_path):
    tree(tmp_path, "full/a.png", "full/x.txt", "none/a.CR2", "none/b.dng", "none/.c")
    (tmp_path / "empty").mkdir()
    check_has_images([tmp_path / "full", tmp_path / "full/x.txt"])
    with pytest.raises(ConfigError, match=r"no images in .*empty") as caught:
        check_has_images([tmp_path / "full", tmp_path / "empty"])
    assert caught.value.hint == "give a folder of .jpg, .png, …"
    with pytest.raises(ConfigError, match=r"no images in .*none") as caught:
        check_has_images([tmp_path / "none"])
    assert "1 .cr2, 1 .dng; 1 hidden or system file" in caught.value.hint
    with pytest.raises(ConfigError, match="no such file or directory"):
        check_has_images([tmp_path / "absent"])


def test_names_of_a_store_are_sifted_as_a_walk_does(tmp_path):
    """By the names alone: what has no ending is not opened."""
    names = ["a.JPG", "cat/b.png", "cat/._b.png", "cat/Thumbs.db", "cat/@eaDir/b.png/x.jpg", "cat/@eaDir/c.png/x.jpg"]
    names += ["__MACOSX/cat/b.png", ".git/x", "cat/c.dng", "cat/README", ".hidden.png"]
    tree(tmp_path, *names)
    images, sifted = sift_names(sorted(names))
    assert sorted(images) == sorted(paths_below(tmp_path)) == ["a.JPG", "cat/b.png"]
    assert sifted == skipped(tmp_path) == Skipped({"": 1, ".dng": 1}, hidden=3, system_folders=3)


def test_images_beside_class_folders_can_be_counted_too(tmp_path):
    tree(tmp_path, "cat/a.png", "loose.jpg", "x.txt")
    folder = read_folder(tmp_path)
    assert (folder.folders, folder.images) == (["cat"], ["loose.jpg"])
    assert folder.with_images("the rest") == Skipped({".txt": 1}, notes=("1 image beside the rest",))


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        (Skipped(), ""),
        (Skipped({".txt": 1}), "passed over 1 file in photos: 1 .txt"),
        (Skipped({".txt": 1, "": 1200}), "passed over 1,201 files in photos: 1,200 without an ending, 1 .txt"),
        (Skipped(hidden=2), "passed over in photos: 2 hidden or system files"),
        (
            Skipped({".csv": 1}, hidden=1, system_folders=2),
            "passed over 1 file in photos: 1 .csv; 1 hidden or system file; 2 hidden or system folders",
        ),
        (
            Skipped({".jxl": 1, ".dng": 2}),
            "passed over 3 files in photos: 2 .dng, 1 .jxl"
            " (convert .dng to JPEG or TIFF; pip install 'wideresnet[formats]' to read .jxl)",
        ),
        (
            Skipped({f".{letter}": 1 for letter in "abcdefghij"}),
            "passed over 10 files in photos: 1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 1 .g, 1 .h, 2 others",
        ),
    ],
)
def test_what_was_passed_over_is_one_line(counts, line, monkeypatch):
    monkeypatch.setattr(files, "image_endings", lambda: frozenset({".jpg"}))       # as without the extra
    assert describe_skipped(counts, "photos") == line
    assert "\n" not in describe_skipped(counts, "ph\notos")


def test_a_link_does_not_take_the_place_of_the_folder_it_leads_to(tmp_path):
    tree(tmp_path, "z2020/a.png", "z2021/b.png", "other/.hidden/c.png")
    (tmp_path / "best").symlink_to("z2020")
    (tmp_path / "shown").symlink_to(tmp_path / "other/.hidden")
    found = find_images([tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["shown/c.png", "z2020/a.png", "z2021/b.png"]
    assert found.skipped.notes == (f"{tmp_path / 'best'} is a link to a folder that is read itself",)


def test_a_folder_outside_that_two_links_lead_to_is_noted(tmp_path):
    tree(tmp_path, "outside/a.png", "photos/b.png")
    for name in ("one", "two"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "outside")
    found = find_images([tmp_path / "photos"])
    assert len(list(found)) == 2
    assert found.skipped.notes == (f"{tmp_path / 'photos/two'} was read before, by another name",)


def test_copies_that_editors_leave_are_passed_over(tmp_path):
    names = "a.jpg", "a.jpg~", "a.jpg_original", "b.png~1~", "Mr. Smith"
    tree(tmp_path, *names)
    for name in names:
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0")
    found = find_images([tmp_path])
    assert [path.name for path in found] == ["Mr. Smith", "a.jpg"]
    assert found.skipped.by_ending == {".jpg~": 1, ".jpg_original": 1, ".png~1~": 1}
