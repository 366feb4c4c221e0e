from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wideresnet.data.cifar import (
    CIFAR10,
    CIFAR100,
    CifarFormat,
    cifar10_test,
    detect_cifar,
    read_cifar10,
    read_cifar100,
)
from wideresnet.errors import DataError

BOTH = pytest.mark.parametrize("kind", [CIFAR10, CIFAR100], ids=lambda kind: kind.name)


def made_up(kind: CifarFormat, rows: int = 4) -> dict[str, bytes]:
    """Every file of a set with a few rows; the label of row k is k, its pixels are noise."""
    rng = np.random.default_rng(0)
    return {
        name: b"".join(bytes([99] * (kind.label_bytes - 1) + [k]) + rng.bytes(3072) for k in range(rows))
        for name in (*kind.train, *kind.test)
    }


def write_archive(path: Path, folder: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


@BOTH
def test_archive_folder_and_what_holds_them_read_the_same(kind, tmp_path):
    """The four things a user may point at."""
    files = made_up(kind)
    read = read_cifar10 if kind is CIFAR10 else read_cifar100
    (tmp_path / "here").mkdir()
    archive = write_archive(tmp_path / "here" / kind.archive, kind.folder, files)
    folder = write_folder(tmp_path / kind.folder, files)
    sets = [read(path, verify=False) for path in (archive, archive.parent, folder, folder.parent)]
    for other in sets[1:]:
        np.testing.assert_array_equal(sets[0].train_images, other.train_images)
        np.testing.assert_array_equal(sets[0].test_labels, other.test_labels)
    assert sets[0].train_images.shape == (4 * len(kind.train), 32, 32, 3)
    assert sets[0].train_images.dtype == np.uint8
    assert sets[0].train_images.flags.c_contiguous
    assert sets[0].test_labels.dtype == np.int64


@BOTH
def test_planes_become_pixels_and_the_fine_label_counts(kind, tmp_path):
    """A row is label(s), red plane, green plane, blue plane, each row by row."""
    files = made_up(kind)
    data = read_cifar10 if kind is CIFAR10 else read_cifar100
    arrays = data(write_folder(tmp_path / kind.folder, files), verify=False)
    row = next(iter(files[name] for name in kind.test))[: kind.label_bytes + 3072]
    for channel in range(3):
        for y, x in ((0, 0), (3, 31), (31, 5)):
            place = kind.label_bytes + 1024 * channel + 32 * y + x
            assert arrays.test_images[0, y, x, channel] == row[place]
    assert arrays.test_labels.tolist() == [0, 1, 2, 3]


def test_training_files_keep_their_order_whatever_the_archives(tmp_path):
    """The official archive holds them shuffled."""
    files = made_up(CIFAR10, rows=1)
    for k in range(1, 6):
        files[f"data_batch_{k}.bin"] = bytes([k]) + files[f"data_batch_{k}.bin"][1:]
    shuffled = {name: files[name] for name in sorted(files, key=lambda name: name[::-1], reverse=True)}
    archive = write_archive(tmp_path / "c.tar.gz", CIFAR10.folder, {"batches.meta.txt": b"x\n", **shuffled})
    assert read_cifar10(archive, verify=False).train_labels.tolist() == [1, 2, 3, 4, 5]


def test_the_test_set_is_items_with_their_number(tmp_path):
    folder = write_folder(tmp_path / CIFAR10.folder, made_up(CIFAR10))
    data = cifar10_test(folder, verify=False)
    assert (data.name, data.classes, len(data.items)) == ("cifar10 test", 10, 4)
    assert [item.path for item in data.items][-1] == "test_batch/00003"
    assert data.items[3].label == 3
    np.testing.assert_array_equal(data.items[2].source, read_cifar10(folder, verify=False).test_images[2])


def test_the_test_set_needs_no_training_files(tmp_path):
    files = {"test_batch.bin": made_up(CIFAR10)["test_batch.bin"]}
    assert (
        len(cifar10_test(write_archive(tmp_path / "t.tar", CIFAR10.folder, files), verify=False).items) == 4
    )


@BOTH
def test_it_is_told_apart_by_what_it_holds(kind, tmp_path):
    """Not by the archive's name."""
    files = made_up(kind, rows=1)
    archive = write_archive(tmp_path / "any.tgz", kind.folder, files)
    folder = write_folder(tmp_path / "extracted", files)
    assert detect_cifar(archive) is kind
    assert detect_cifar(folder) is kind


def test_other_things_are_not_taken_for_cifar(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar.gz").write_text("no archive")
    write_archive(tmp_path / "other.tar.gz", "photos", {"test.bin": b"x"})
    write_folder(tmp_path / "bins", {"test.bin": b"x"})
    for name in ("empty", "text.tar.gz", "other.tar.gz", "bins", "missing"):
        assert detect_cifar(tmp_path / name) is None


def test_verify_demands_the_official_length(tmp_path):
    folder = write_folder(tmp_path / CIFAR10.folder, made_up(CIFAR10))
    with pytest.raises(DataError, match=r"12,292 bytes, the official file 30,730,000") as caught:
        read_cifar10(folder)
    assert CIFAR10.archive in caught.value.hint


def test_verify_demands_the_official_content(tmp_path, monkeypatch):
    """A file of the right length with one flipped bit is found by its SHA-1."""
    small = replace(CIFAR10, test={"test_batch.bin": 4}, train={"data_batch_1.bin": 4})
    monkeypatch.setattr("wideresnet.data.cifar.CIFAR10", small)
    with pytest.raises(DataError, match="differs from the official file") as caught:
        read_cifar10(write_folder(tmp_path / CIFAR10.folder, made_up(CIFAR10)))
    assert "SHA-1" in caught.value.hint


def test_an_archive_cut_short_is_an_error(tmp_path):
    archive = write_archive(tmp_path / CIFAR10.archive, CIFAR10.folder, made_up(CIFAR10))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="no readable tar archive") as caught:
        read_cifar10(archive, verify=False)
    assert "fetch it again" in caught.value.hint


def test_a_file_that_is_no_archive_is_an_error(tmp_path):
    path = tmp_path / CIFAR10.archive
    path.write_text("<html>not found</html>")
    with pytest.raises(DataError, match="no readable tar archive"):
        read_cifar10(path)


def test_missing_files_are_named(tmp_path):
    files = made_up(CIFAR10)
    del files["data_batch_3.bin"], files["data_batch_5.bin"]
    for path in (write_folder(tmp_path / "f", files), write_archive(tmp_path / "a", CIFAR10.folder, files)):
        with pytest.raises(DataError, match=r"lacks data_batch_3\.bin, data_batch_5\.bin"):
            read_cifar10(path, verify=False)


@pytest.mark.parametrize("length", [0, 100, 3074])
def test_rows_must_be_whole(tmp_path, length):
    files = {**made_up(CIFAR10), "test_batch.bin": b"\0" * length}
    with pytest.raises(DataError, match="no whole number of 3,073-byte rows"):
        read_cifar10(write_folder(tmp_path / "f", files), verify=False)


def test_a_label_beyond_the_classes_is_an_error(tmp_path):
    files = {**made_up(CIFAR10), "test_batch.bin": b"\x0a" + b"\0" * 3072}
    with pytest.raises(DataError, match="label 10, cifar10 has 10 classes"):
        read_cifar10(write_folder(tmp_path / "f", files), verify=False)


def test_a_folder_without_it_says_what_is_expected(tmp_path):
    """The pickled version is never opened."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="holds no cifar10") as caught:
        read_cifar10(tmp_path)
    assert "python version" in caught.value.hint
