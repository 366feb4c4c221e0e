from __future__ import annotations

import csv
import errno
import io
import os
import tarfile
from pathlib import Path

import pytest

from devkit import FIRST, WNIDS, by_class, devkit_archive, devkit_folder, flat, name, tar, truth, val_archive
from wideresnet.datasets.imagenet_index import extract_val, prepare_imagenet
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import follow
from wideresnet.records.prepared import PreparedData

VAL_TXT = "".join(f"{name(number)} {index}\n" for number, index in FIRST.items())


def prepare(*paths: Path, index: Path, extract: Path | None = None, folders: Path | None = None) -> PreparedData:
    return follow(prepare_imagenet(paths, index, extract=extract, folders=folders))


def table(index: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(index.read_text())))


@pytest.fixture
def val_txt(tmp_path: Path) -> Path:
    (tmp_path / "val.txt").write_text(VAL_TXT)
    return tmp_path / "val.txt"


def test_every_source_gives_the_same_classes(tmp_path, val_txt):
    """The official archives, a flat folder with any kind of labels, and class folders."""
    devkit, images = devkit_archive(tmp_path), flat(tmp_path / "val")
    kaggle = tmp_path / "LOC_val_solution.csv"
    kaggle.write_text(
        "ImageId,PredictionString\n" + "".join(f"{name(n)[:-5]},{WNIDS[i]} 1 2 3 4\n" for n, i in FIRST.items())
    )
    ways = [
        (val_archive(tmp_path), devkit),
        (images, devkit),
        (images, devkit_folder(tmp_path / "kit")),
        (images, val_txt),
        (images, kaggle),
        (images, devkit, val_txt, kaggle),
        (by_class(tmp_path / "by-class"),),
        (by_class(tmp_path / "by-class"), devkit),
    ]
    for number, paths in enumerate(ways):
        index = tmp_path / f"{number}.csv"
        done = prepare(*paths, index=index, extract=None if number else tmp_path / "extracted")
        rows = table(index)
        assert [(row["index"], row["wnid"]) for row in rows] == [(str(i), WNIDS[i]) for i in FIRST.values()]
        assert [Path(row["path"]).name for row in rows] == [name(n) for n in FIRST]
        assert all((tmp_path / row["path"]).read_text() == Path(row["path"]).name for row in rows)
        assert (done.pictures, done.classes, done.whole, done.left_out) == (6, 6, False, ())
        assert len(done.absent) == 49_994


def test_the_index_is_what_evaluation_opens(tmp_path, val_txt):
    prepare(flat(tmp_path / "val"), val_txt, index=tmp_path / "lists" / "val.csv")
    text = (tmp_path / "lists" / "val.csv").read_text()
    assert text.startswith("path,index,wnid\n../val/ILSVRC2012_val_00000001.JPEG,65,n01751748\n")
    data = open_labelled(tmp_path / "lists" / "val.csv", read_labels("imagenet"))
    assert [item.label for item in data.items] == list(FIRST.values())
    assert all(item.source.is_file() for item in data.items)


def test_nothing_is_extracted_unasked(tmp_path, val_txt):
    with pytest.raises(ConfigError, match="nothing is extracted without --extract") as caught:
        prepare(val_archive(tmp_path), val_txt, index=tmp_path / "val.csv")
    assert "--extract" in caught.value.hint
    assert not (tmp_path / "val.csv").exists()


def test_an_extraction_that_was_stopped_goes_on(tmp_path, val_txt):
    archive, target = val_archive(tmp_path), tmp_path / "val"
    assert prepare(archive, val_txt, index=tmp_path / "val.csv", extract=target).extracted == 6
    modified = (target / name(1)).stat().st_mtime_ns
    (target / name(2)).unlink()
    (target / name(3)).write_bytes(b"cut")
    assert prepare(archive, val_txt, index=tmp_path / "val.csv", extract=target).extracted == 2
    assert (target / name(1)).stat().st_mtime_ns == modified
    assert (target / name(3)).read_text() == name(3)


def test_an_archive_writes_nowhere_but_in_the_folder(tmp_path):
    """Names that climb, absolute names and links end as plain files in the folder, or nowhere."""
    archive = tmp_path / "evil.tar"
    tar(archive, {f"../../{name(1)}": b"one", f"/{name(2)}": b"two", f"n01751748/../x/{name(3)}": b"three"})
    with tarfile.open(archive, "a") as more:
        for kind, number in ((tarfile.SYMTYPE, 4), (tarfile.LNKTYPE, 5)):
            link = tarfile.TarInfo(name(number))
            link.type, link.linkname = kind, "/etc/passwd"
            more.addfile(link)
    folder = tmp_path / "a" / "b" / "val"
    assert list(extract_val(archive, folder)) == [True] * 3
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == [name(1), name(2), name(3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "evil.tar"]


def test_class_folders_inside_an_archive_stay(tmp_path):
    files = {f"val/{WNIDS[index]}/{name(number)}": b"x" for number, index in FIRST.items()}
    done = prepare(tar(tmp_path / "val.tar", files), index=tmp_path / "val.csv", extract=tmp_path / "val")
    assert (done.pictures, done.labels_from) == (6, ("class folders",))
    assert (tmp_path / "val" / WNIDS[65] / name(1)).is_file()


def test_an_archive_cut_short_keeps_what_came_whole(tmp_path, val_txt):
    archive = val_archive(tmp_path)
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[: 3 * 1024 + 520])
    with pytest.raises(DataError, match=r"cut\.tar is not a valid tar archive"):
        prepare(tmp_path / "cut.tar", val_txt, index=tmp_path / "val.csv", extract=tmp_path / "val")
    whole_ones = {path.name for path in (tmp_path / "val").iterdir() if not path.name.startswith(".")}
    assert whole_ones == {name(1), name(2), name(3)}
    done = prepare(archive, val_txt, index=tmp_path / "val.csv", extract=tmp_path / "val")
    assert (done.extracted, done.pictures) == (3, 6)


def test_class_folders_are_hard_links(tmp_path, val_txt):
    images, out = flat(tmp_path / "val"), tmp_path / "by-class"
    done = prepare(images, val_txt, index=tmp_path / "val.csv", folders=out)
    assert (done.linked, done.copied, done.folders) == (6, 0, str(out))
    for number, index in FIRST.items():
        assert (out / WNIDS[index] / name(number)).samefile(images / name(number))
    again = prepare(images, val_txt, index=tmp_path / "val.csv", folders=out)
    assert (again.linked, again.copied) == (0, 0), "what is there stays"


def test_where_no_link_can_be_made_images_are_copied_and_it_is_said(tmp_path, val_txt, monkeypatch):
    def refuse(*_all: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    images, out = flat(tmp_path / "val"), tmp_path / "by-class"
    done = prepare(images, val_txt, index=tmp_path / "val.csv", folders=out)
    assert (done.linked, done.copied) == (0, 6)
    assert (out / WNIDS[65] / name(1)).read_text() == name(1)
    assert prepare(images, val_txt, index=tmp_path / "val.csv", folders=out).copied == 0


def test_no_file_is_overwritten(tmp_path, val_txt):
    there = tmp_path / "by-class" / WNIDS[65] / name(1)
    there.parent.mkdir(parents=True)
    there.write_text("another image")
    with pytest.raises(DataError, match="exists and differs from"):
        prepare(flat(tmp_path / "val"), val_txt, index=tmp_path / "val.csv", folders=tmp_path / "by-class")
    assert there.read_text() == "another image"
    with pytest.raises(ConfigError, match="would be overwritten"):
        prepare(tmp_path / "val", val_txt, index=val_txt)
    assert val_txt.read_text() == VAL_TXT


def test_strangers_and_images_without_a_label_are_left_out_and_listed(tmp_path):
    images = flat(tmp_path / "val", (1, 2, 3))
    (images / "holiday.jpg").touch()
    (tmp_path / "val.txt").write_text("".join(VAL_TXT.splitlines(keepends=True)[:2]))
    done = prepare(images, tmp_path / "val.txt", index=tmp_path / "val.csv")
    assert done.pictures == len(table(tmp_path / "val.csv")) == 2
    assert [Path(path).name for path in done.left_out] == ["holiday.jpg", name(3)]
    assert name(4)[:-5] in done.absent


def test_without_images_there_is_nothing_to_write(tmp_path, val_txt):
    (tmp_path / "empty").mkdir()
    for paths in ((tmp_path / "empty", val_txt), (val_txt,)):
        with pytest.raises(DataError, match="no ILSVRC2012_val"):
            prepare(*paths, index=tmp_path / "val.csv")


def test_ground_truth_of_numbers_alone_is_refused(tmp_path):
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text(truth())
    with pytest.raises(DataError, match=r"without meta\.mat"):
        prepare(
            flat(tmp_path / "val"), tmp_path / "ILSVRC2012_validation_ground_truth.txt", index=tmp_path / "val.csv"
        )
    assert not (tmp_path / "val.csv").exists()
