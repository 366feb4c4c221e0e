from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fakes import python2_batch
from wideresnet.datasets.cifar import (
    CIFAR10,
    CIFAR100,
    CifarFormat,
    cifar_test,
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
    for images in sets[1:]:
        np.testing.assert_array_equal(sets[0].train_images, images.train_images)
        np.testing.assert_array_equal(sets[0].test_labels, images.test_labels)
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
            index = kind.label_bytes + 1024 * channel + 32 * y + x
            assert arrays.test_images[0, y, x, channel] == row[index]
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
    data = cifar_test(folder, CIFAR10, verify=False)
    assert (data.name, data.classes, len(data.items)) == ("cifar10 test", 10, 4)
    assert [item.path for item in data.items][-1] == "test_batch/00003"
    assert data.items[3].label == 3
    np.testing.assert_array_equal(data.items[2].source, read_cifar10(folder, verify=False).test_images[2])


def test_the_test_set_needs_no_training_files(tmp_path):
    files = {"test_batch.bin": made_up(CIFAR10)["test_batch.bin"]}
    assert (
        len(cifar_test(write_archive(tmp_path / "t.tar", CIFAR10.folder, files), CIFAR10, verify=False).items) == 4
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
    monkeypatch.setattr("wideresnet.datasets.cifar.CIFAR10", small)
    with pytest.raises(DataError, match="differs from the official file") as caught:
        read_cifar10(write_folder(tmp_path / CIFAR10.folder, made_up(CIFAR10)))
    assert "SHA-1" in caught.value.hint


def test_an_archive_cut_short_is_an_error(tmp_path):
    archive = write_archive(tmp_path / CIFAR10.archive, CIFAR10.folder, made_up(CIFAR10))
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match="not a valid tar archive") as caught:
        read_cifar10(archive, verify=False)
    assert "fetch it again" in caught.value.hint


def test_a_file_that_is_no_archive_is_an_error(tmp_path):
    path = tmp_path / CIFAR10.archive
    path.write_text("<html>not found</html>")
    with pytest.raises(DataError, match="not a valid tar archive"):
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
    with pytest.raises(DataError, match="not a multiple of 3,073-byte rows"):
        read_cifar10(write_folder(tmp_path / "f", files), verify=False)


def test_a_label_beyond_the_classes_is_an_error(tmp_path):
    files = {**made_up(CIFAR10), "test_batch.bin": b"\x0a" + b"\0" * 3072}
    with pytest.raises(DataError, match="label 10, cifar10 has 10 classes"):
        read_cifar10(write_folder(tmp_path / "f", files), verify=False)


def test_a_folder_without_it_says_what_is_expected(tmp_path):
    """Both versions are named."""
    with pytest.raises(DataError, match="holds no cifar10") as caught:
        read_cifar10(tmp_path)
    assert CIFAR10.archive in caught.value.hint
    assert "the python version: cifar-10-python.tar.gz" in caught.value.hint


def python2(name: str, rows: list[tuple[int, bytes]], kind: CifarFormat) -> bytes:
    pixels = np.frombuffer(b"".join(row for _, row in rows), np.uint8).reshape(-1, 3072)
    return python2_batch(pixels, [label for label, _ in rows], kind.python.labels)


def python3(name: str, rows: list[tuple[int, bytes]], kind: CifarFormat, protocol: int = 4) -> bytes:
    pixels = np.frombuffer(b"".join(row for _, row in rows), np.uint8).reshape(-1, 3072).copy()
    fields = {b"filenames": [b"f.png"] * len(rows), b"data": pixels, kind.python.labels.encode(): [k for k, _ in rows]}
    return pickle.dumps(fields, protocol)


def rows_of(blob: bytes, kind: CifarFormat) -> list[tuple[int, bytes]]:
    width = kind.label_bytes + 3072
    return [
        (blob[start + kind.label_bytes - 1], blob[start + kind.label_bytes : start + width])
        for start in range(0, len(blob), width)
    ]


WRITERS = {"python2": python2, **{f"protocol{n}": partial(python3, protocol=n) for n in (2, 3, 4, 5)}}


@BOTH
@pytest.mark.parametrize("writer", WRITERS)
def test_the_python_version_is_the_same_set(writer, kind, tmp_path):
    """Whatever Python and NumPy pickled it, it gives the images, labels and paths of the binary version."""
    files = made_up(kind)
    binary = write_folder(tmp_path / kind.folder, files)
    pickles = {
        name.removesuffix(".bin"): WRITERS[writer](name, rows_of(blob, kind), kind) for name, blob in files.items()
    }
    root = tmp_path / "torchvision"
    root.mkdir()
    folder = write_folder(root / kind.python.folder, {**pickles, kind.python.meta: b"not opened"})
    archive = write_archive(tmp_path / "any.tgz", kind.python.folder, {kind.python.meta: b"not opened", **pickles})
    read = read_cifar10 if kind is CIFAR10 else read_cifar100
    expected = read(binary, verify=False)
    for path in (folder, root, archive):
        assert detect_cifar(path) is kind
        data = read(path, verify=False)
        np.testing.assert_array_equal(data.train_images, expected.train_images)
        np.testing.assert_array_equal(data.train_labels, expected.train_labels)
        np.testing.assert_array_equal(data.test_images, expected.test_images)
        assert cifar_test(path, kind, verify=False).sha256 == cifar_test(binary, kind, verify=False).sha256


@BOTH
def test_an_archive_of_either_version_lies_in_a_root(kind, tmp_path):
    """The name of the archive is enough; where both sets lie, the number of classes decides."""
    for kind in (CIFAR10, CIFAR100):
        (tmp_path / kind.python.archive).touch()
    assert detect_cifar(tmp_path, kind.classes) is kind


def test_a_python_version_with_fewer_rows_is_read_and_said_to_be_another_set(tmp_path):
    """A pickle that ends with its STOP cannot be a file cut short."""
    pickles = {name: python2(name, rows_of(made_up(CIFAR10)["test_batch.bin"], CIFAR10), CIFAR10) for name in PICKLES}
    data = cifar_test(write_folder(tmp_path / "cifar-10-batches-py", pickles), CIFAR10)
    assert data.name == "cifar10 test (4 images of files that are not the official ones)"
    assert read_cifar10(tmp_path).train_labels.tolist() == [0, 1, 2, 3] * 5


PICKLES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


def test_official_python_files_are_known_by_their_md5(tmp_path, monkeypatch):
    """They keep the set's name, whatever their rows are."""
    blob = python2("test_batch", rows_of(made_up(CIFAR10)["test_batch.bin"], CIFAR10), CIFAR10)
    md5 = {"test_batch": hashlib.md5(blob).hexdigest()}
    kind = replace(CIFAR10, python=replace(CIFAR10.python, md5=md5))
    folder = write_folder(tmp_path / "cifar-10-batches-py", {"test_batch": blob})
    assert cifar_test(folder, kind).name == "cifar10 test"


def test_a_python_version_of_official_length_must_have_official_content(tmp_path):
    """Pickled again it has another MD5: the SHA-1 of its rows is that of the binary file, or it is refused."""
    binary = made_up(CIFAR10)["test_batch.bin"]
    folder = write_folder(
        tmp_path / "cifar-10-batches-py", {"test_batch": python3("", rows_of(binary, CIFAR10), CIFAR10)}
    )
    same = replace(CIFAR10, test={"test_batch.bin": 4}, sha1={"test_batch.bin": hashlib.sha1(binary).hexdigest()})
    assert cifar_test(folder, same).name == "cifar10 test"
    with pytest.raises(DataError, match="test_batch differs from the official file"):
        cifar_test(folder, replace(CIFAR10, test={"test_batch.bin": 4}))


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_malicious_pickle_runs_nothing(tmp_path):
    """It is refused by the name that it calls."""
    marker = tmp_path / "marker"
    for value in (Evil(marker), {"data": Evil(marker)}, {"labels": [Evil(marker)]}):
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir(exist_ok=True)
        (folder / "test_batch").write_bytes(pickle.dumps(value, 2))
        with pytest.raises(DataError, match=rf"test_batch: refused.*'{os.name}\.system'") as caught:
            cifar_test(folder, CIFAR10)
        assert "nothing in it was executed" in caught.value.hint
    assert not marker.exists()


@pytest.mark.parametrize(
    "batch",
    [
        [],
        {},
        {"data": np.zeros((2, 3072), np.uint8)},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0, -1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [[0], 1]},
        {"data": np.zeros((2, 3072), np.float32), "labels": [0, 1]},
        {"data": np.zeros((2, 3, 1024), np.uint8), "labels": [0, 1]},
        {"data": np.array([{}, {}]), "labels": [0, 1]},
        {"data": [[0] * 3072], "labels": [0]},
    ],
)
def test_a_pickle_of_something_else_is_an_error(batch, tmp_path):
    folder = write_folder(tmp_path / "cifar-10-batches-py", {"test_batch": pickle.dumps(batch, 4)})
    with pytest.raises(DataError, match="test_batch"):
        cifar_test(folder, CIFAR10)


def test_a_file_of_endless_size_is_not_read(tmp_path, monkeypatch):
    """Neither from a folder nor out of an archive."""
    monkeypatch.setattr("wideresnet.datasets.cifar.MAX_FILE_BYTES", 1000)
    files = {"test_batch": b"\0" * 1001}
    archive = write_archive(tmp_path / "a.tgz", "cifar-10-batches-py", files)
    for path in (archive, write_folder(tmp_path / "cifar-10-batches-py", files)):
        with pytest.raises(DataError, match="1,001 bytes, more than any file"):
            cifar_test(path, CIFAR10)


def test_the_python_version_of_other_classes_is_refused(tmp_path: Path) -> None:
    """Sets of one's own in CIFAR's format were evaluated as CIFAR."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batch = {b"labels": [0], b"data": np.zeros((1, 3072), np.uint8)}
    for name in (*CIFAR10.train, *CIFAR10.test):
        (folder / name.removesuffix(".bin")).write_bytes(pickle.dumps(batch, 2))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"oak", b"elm"]}, 2))
    with pytest.raises(DataError, match="names other classes than cifar10: 0 is 'oak', not 'airplane'"):
        cifar_test(tmp_path, CIFAR10)
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"airplane", b"automobile"]}, 2))
    assert len(cifar_test(tmp_path, CIFAR10).items) == 1
