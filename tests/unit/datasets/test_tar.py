"""Images in tar archives: read where they lie, whatever stranger wrote the headers."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from fakes import grey_png, write_tar
from wideresnet.datasets import tar as module
from wideresnet.datasets.tar import TarImages, TarMember, read_labelled_tar, tar_members
from wideresnet.errors import DataError, ImageError
from wideresnet.records import EncodedImage


def images(path: Path) -> dict[str, bytes]:
    return {name: source.read(10**6) for name, source, _ in TarImages(str(path))}


def raw_header(name: str, size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    """A header of tar's own making with whatever is put into its size."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[124:136], block[156:157] = size, kind
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    return bytes(block)


END = b"\0" * 1024


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_image_is_read_where_it_lies(tmp_path: Path, format: int) -> None:
    """In the archive's order, under archive/name; long names, dots in front and other files are no obstacle."""
    long = "k" * 80 + "/" + "f" * 90 + ".JPG"
    files = {"./b.png": b"b", "a.webp": b"", long: b"long", "a.cls": b"1", "notes.txt": b"", "._a.png": b"fork"}
    with tarfile.open(tmp_path / "x.tar", "w", format=format) as archive:
        archive.addfile(tarfile.TarInfo(".hidden/h.png"))
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    root = tmp_path / "x.tar"
    assert images(root) == {f"{root}/b.png": b"b", f"{root}/a.webp": b"", f"{root}/{long}": b"long"}


def test_a_member_is_read_by_other_processes_too(tmp_path: Path) -> None:
    """It is a value: pickled, it still says where its bytes lie. No more than the limit and a byte are read."""
    ((_, member),) = tar_members(str(write_tar(tmp_path / "x.tar", [("a.png", b"0123456789")])))
    assert isinstance(member, EncodedImage)
    assert pickle.loads(pickle.dumps(member)).read(100) == b"0123456789"
    assert member.read(4) == b"01234"
    assert member.fingerprint == "10"


def test_an_archive_that_has_gone_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        TarMember(str(tmp_path / "x.tar"), 0, 1).read(9)


def test_links_and_devices_are_failures_and_are_not_followed(tmp_path: Path) -> None:
    """Wherever they point to."""
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("f.png", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    rows = list(TarImages(str(tmp_path / "x.tar")))
    assert len(rows) == 3
    for _, source, _ in rows:
        with pytest.raises(ImageError, match="not a file of the archive but a link"):
            source.read(9)


HOSTILE = {
    "nothing": b"",
    "no archive": b"x" * 2000,
    "no end": raw_header("a.png"),
    "an end that is cut": raw_header("a.png") + b"\0" * 100,
    "a second archive behind it": raw_header("a.png") + END + raw_header("b.png") + END,
    "a file that is cut": raw_header("a.png", b"00000002000\0") + b"x" * 100,
    "a size of exabytes": raw_header("a.png", b"\x80" + b"\xff" * 11) + END,
    "a negative size": raw_header("a.png", b"\xff" * 10 + b"\xfc\0") + END,
    "something unknown of negative size": raw_header("d", b"\xff" * 10 + b"\xfc\0", b"Z") + END,
    "a long name of a gigabyte": raw_header("n", b"10000000000\0", b"L") + END,
    "a long name of negative size": raw_header("n", b"\xff" * 10 + b"\xfc\0", b"L") + END,
    "long names of long names": b"".join(raw_header("n", b"00000000001\0", b"L") + b"x" * 512 for _ in range(2000)),
    "another header in the middle": raw_header("a.png") + b"garbage" * 200,
    "a compressed one": b"\x1f\x8b\x08" + b"x" * 600,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_end_in_an_error(tmp_path: Path, name: str) -> None:
    """Soon, and without much memory."""
    (tmp_path / "x.tar").write_bytes(HOSTILE[name])
    with pytest.raises(DataError, match=r"x\.tar is no complete tar archive"):
        list(tar_members(str(tmp_path / "x.tar")))


def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    write_tar(tmp_path / "x.tar", [(f"{number}.png", b"") for number in range(4)])
    with pytest.raises(DataError, match="one of too many"):
        list(tar_members(str(tmp_path / "x.tar")))


def labels(path: Path) -> dict[str, object]:
    return {Path(name).name: label for name, _, label in read_labelled_tar(str(path))[0]}


def test_classes_lie_beside_the_images(tmp_path: Path) -> None:
    """In key.cls as a number or a name, in key.json under "label"; key.cls counts more."""
    path = write_tar(
        tmp_path / "x.tar",
        [
            ("a/1.cls", b"7\n"), ("a/1.jpg", b""),
            ("b/1.JPG", b""), ("b/1.json", b'{"label": 3, "text": "x"}'),
            ("2.png", b""), ("2.json", b'{"label": 1}'), ("2.cls", b"tench"),
            ("4.png", b""), ("4.json", b'{"label": null, "cls": 4.0}'),
            ("3.webp", b""), ("3.seg.png", b""), ("3.json", b'{"text": "no label"}'), ("3.cls", b"-1"),
        ],
    )  # fmt: skip
    rows = [(name.removeprefix(f"{path}/"), label) for name, _, label in read_labelled_tar(str(path))[0]]
    assert rows == [("a/1.jpg", 7), ("b/1.JPG", 3), ("2.png", "tench"), ("4.png", 4), ("3.webp", -1)]


def test_an_image_without_a_class_among_others_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", [("1.jpg", b""), ("1.cls", b"7"), ("2.jpg", b"")])
    with pytest.raises(DataError, match=r"1 of the 2 images .* have no \.cls .* such as 2\.jpg"):
        read_labelled_tar(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_a_json_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    write_tar(tmp_path / "x.tar", [("1.jpg", b""), ("1.json", text.encode())])
    with pytest.raises(DataError, match=r"1\.json is not valid JSON"):
        read_labelled_tar(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("text", ["[1]", "3", '{"label": true}', '{"label": [1]}', '{"label": 1.5}', "null"])
def test_a_json_without_a_class_says_none(tmp_path: Path, text: str) -> None:
    write_tar(tmp_path / "x.tar", [("1.jpg", b""), ("1.json", text.encode())])
    assert labels(tmp_path / "x.tar") == {"1.jpg": None}


def test_a_label_of_endless_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LABEL_BYTES", 3)
    write_tar(tmp_path / "x.tar", [("1.jpg", b""), ("1.cls", b"1234")])
    with pytest.raises(DataError, match=r"1\.cls in .* has 4 bytes"):
        read_labelled_tar(str(tmp_path / "x.tar"))


def test_class_folders_of_one_folder_are_classes(tmp_path: Path) -> None:
    """Of several folders they may be those of a training and a validation set: they say nothing then."""
    single = write_tar(tmp_path / "1.tar", [("./val/cat/1.my.png", grey_png(3)), ("./val/dog/2.png", b"")])
    assert labels(single) == {"1.my.png": "cat", "2.png": "dog"}
    two = write_tar(tmp_path / "2.tar", [("val/cat/1.png", b""), ("train/cat/2.png", b"")])
    flat = write_tar(tmp_path / "3.tar", [("1.png", b""), ("cat/2.png", b"")])
    assert labels(two) == labels(flat) == {"1.png": None, "2.png": None}


BOMBS = {
    "a pax header of 2 GB": raw_header("x", b"20000000000\0", b"x"),
    "a long name of 2 GB": raw_header("x", b"20000000000\0", b"L"),
    "a member of 2 GB": raw_header("cifar-10-batches-bin/data_batch_1.bin", b"20000000000\0"),
    "a map of a sparse file": raw_header("x", b"00000000032\0", b"x")
    + b"22 GNU.sparse.major=1\n".ljust(26, b"\n").ljust(512, b"\0")[:512],
}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_compressed_archive_takes_little_memory(tmp_path: Path, bomb: str, pack: Callable[[bytes], bytes]) -> None:
    """Whatever its headers say; 64 MB of zeros follow them."""
    path = tmp_path / "devkit.tar.gz"
    path.write_bytes(pack(BOMBS[bomb] + bytes(2**26)))
    tracemalloc.start()
    try:
        with suppress(DataError), module.open_tar(path) as archive:
            assert [member.name for member in archive] == []
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_damaged_compressed_archive_is_not_read_as_a_plain_one(tmp_path: Path) -> None:
    """One in some hundred times of compression makes the checksum of a plain header of gzip's own bytes."""
    packed = bytearray(gzip.compress(BOMBS["a long name of 2 GB"] + bytes(2**26), mtime=0))
    for time in range(2**20):
        packed[4:8] = time.to_bytes(4, "little")
        with suppress(tarfile.HeaderError):
            tarfile.TarInfo.frombuf(packed[:512], "utf-8", "surrogateescape")
            break
    else:
        pytest.fail("no time makes the checksum")
    (tmp_path / "devkit.tar.gz").write_bytes(packed)
    with pytest.raises(DataError, match="valid tar"), module.open_tar(tmp_path / "devkit.tar.gz") as archive:
        list(archive)


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_read_in_one_pass_however_it_is_packed(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "x", kind) as archive:
        for name, data in (("a", b"1" * 512), ("b" * 150, b"2"), ("c", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with module.open_tar(tmp_path / "x") as archive:
        contents = {member.name[:1]: archive.extractfile(member).read() for member in archive}
    assert contents == {"a": b"1" * 512, "b": b"2", "c": b""}


def test_a_bomb_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED", 2**20)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(raw_header("a", b"00020000000\0") + bytes(2**22)))
    with pytest.raises(DataError, match="'a' lies beyond its end"), module.open_tar(tmp_path / "x.tar.gz") as archive:
        list(archive)
