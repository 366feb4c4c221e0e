"""Inputs of bulk jobs, cut into shards."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes import write_hub, write_tar
from wideresnet.cluster.listing import list_images, list_labelled
from wideresnet.cluster.shards import open_shard
from wideresnet.datasets.parquet import _open_cached
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import EncodedImage, Item, Labels, Skipped

pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")
pq = pytest.importorskip("pyarrow.parquet")

LABELS = Labels(("cat", "dog"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders with five images, and something else."""
    for number, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/deep/3.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    (tmp_path / "photos" / "dog" / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "dog" / ".hidden.png").write_text("hidden")
    return tmp_path / "photos"


def paths(shards: object) -> list[str]:
    return [item.path for shard in shards for item in open_shard(shard).items]  # type: ignore[attr-defined]


def parquet(file: Path, columns: dict[str, object], rows_a_group: int = 3) -> str:
    pq.write_table(pa.table(columns), file, row_group_size=rows_a_group)
    return str(file)


def test_a_folder_is_cut_into_consecutive_images(photos: Path) -> None:
    listing = list_images([str(photos)], 2)
    assert [len(shard) for shard in listing.shards] == [2, 2, 1]
    assert [shard.number for shard in listing.shards] == [0, 1, 2]
    assert listing.images == 5
    assert paths(listing.shards) == [str(path) for path in sorted(photos.rglob("[123].png"))]


def test_a_store_gives_the_same_images_in_the_same_order(photos: Path) -> None:
    here, there = list_images([str(photos)], 2), list_images([f"file://{photos}"], 2)
    assert [path.removeprefix("file://") for path in paths(there.shards)] == paths(here.shards)
    sources = [item.source for shard in there.shards for item in open_shard(shard).items]
    assert sources == [Path(path).read_bytes() for path in paths(here.shards)]


def test_a_file_missing_from_a_store_is_reported(photos: Path) -> None:
    (shard,) = list_images([f"file://{photos}"], 8).shards
    (photos / "cat" / "2.png").unlink()
    opened = open_shard(shard)
    assert len(list(opened.items)) == 5
    assert opened.missing == {1}


def test_a_list_names_paths_or_uris(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("[123].png"), reverse=True)
    (tmp_path / "list.txt").write_text("\n".join(map(str, files)) + "\n\n")
    (tmp_path / "uris.txt").write_text("\n".join(f"file://{path}" for path in files))
    assert paths(list_images([str(tmp_path / "list.txt")], 3).shards) == list(map(str, files))
    listing = list_images([str(tmp_path / "uris.txt")], 3)
    assert [item.source for shard in listing.shards for item in open_shard(shard).items] == [
        path.read_bytes() for path in files
    ]


def test_a_list_of_several_stores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3://a/1.jpg\ns3://b/1.jpg\n")
    with pytest.raises(DataError, match="several stores: s3://a/, s3://b/"):
        list_images([str(tmp_path / "list.txt")], 3)


@pytest.mark.parametrize("columns", ["plain", "struct"])
def test_rows_of_parquet_are_images(columns: str, tmp_path: Path) -> None:
    data = [bytes([number]) for number in range(8)]
    names = [f"{number}.jpg" for number in range(8)]
    table: dict[str, object] = {"bytes": data, "path": names}
    if columns == "struct":
        table = {"image": [{"bytes": image, "path": name} for image, name in zip(data, names, strict=True)]}
    listing = list_images([parquet(tmp_path / "x.parquet", table)], 5)
    assert [len(shard) for shard in listing.shards] == [5, 3]
    items = [item for shard in listing.shards for item in open_shard(shard).items]
    assert [item.source for item in items] == data
    assert [item.path for item in items] == names


def test_rows_without_a_name_get_a_number(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"bytes": [b"a", None]})
    (shard,) = list_images([file], 5).shards
    assert [(item.path, item.source) for item in open_shard(shard).items] == [(f"{file}#0", b"a"), (f"{file}#1", b"")]


def tar(file: Path, count: int) -> Path:
    pairs = [((f"{n}.png", bytes([n])), (f"{n}.cls", b"%d" % (n % 2))) for n in range(count)]
    return write_tar(file, [member for pair in pairs for member in pair])


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_images_in_a_tar_archive_are_cut_into_shards(scheme: str, tmp_path: Path) -> None:
    """By path or URI; shards have offsets into the archive, and the labels."""
    location = f"{scheme}{tar(tmp_path / 'x.tar', 5)}"
    data, labelled = list_labelled(location, LABELS, None, 2)
    assert (list_images([location], 2).skipped, labelled.skipped) == (Skipped({".cls": 5}), Skipped())
    for listing in (list_images([location], 2), labelled):
        assert [len(shard) for shard in listing.shards] == [2, 2, 1]
        shards = [pickle.loads(pickle.dumps(shard)) for shard in listing.shards]
        items = [item for shard in shards for item in open_shard(shard).items]
        assert [item.path for item in items] == [f"{location}/{n}.png" for n in range(5)]
        assert [as_bytes(item.source) for item in items] == [bytes([n]) for n in range(5)]
    assert [item.label for item in items] == [item.label for item in data.items] == [0, 1, 0, 1, 0]


def as_bytes(source: object) -> object:
    return source.read(99) if isinstance(source, EncodedImage) else source


def test_labels_of_a_store_come_from_the_same_columns(tmp_path: Path) -> None:
    """Names in the schema say which class an index is; a text label is a name."""
    file = write_hub(tmp_path / "x.parquet", {"image": [{"bytes": b"a", "path": "a"}] * 2, "label": ["dog", "cat"]})
    data, listing = list_labelled(f"file://{file}", LABELS, None, 3)
    items = [item for shard in listing.shards for item in open_shard(shard).items]
    assert [(item.label, item.source) for item in items] == [(1, b"a"), (0, b"a")]
    names = [f"file://{file}#{n}/a" for n in (0, 1)]
    assert [item.path for item in items] == [item.path for item in data.items] == names
    file = write_hub(tmp_path / "y.parquet", {"bytes": [b"a"], "label": [0]}, ("dog", "cat"))
    data, _ = list_labelled(f"file://{file}", LABELS, None, 3)
    assert [item.label for item in data.items] == [1], "dog by its name, not by its index"


def test_a_folder_of_shards_is_the_images_in_them(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", {"bytes": [b"a", b"b"]})
    tar(tmp_path / "b.tar", 1)
    listing = list_images([str(tmp_path)], 8)
    assert [Path(path).name for path in paths(listing.shards)] == ["a.parquet#0", "a.parquet#1", "0.png"]


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column of images; its columns are name"):
        list_images([parquet(tmp_path / "x.parquet", {"name": ["a"]})], 5)
    (tmp_path / "y.parquet").write_bytes(b"no such thing")
    with pytest.raises(DataError, match="is not a Parquet file"):
        list_images([str(tmp_path / "y.parquet")], 5)
    with pytest.raises(DataError, match="no such file or directory"):
        list_images([str(tmp_path / "z.parquet")], 5)


def test_no_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no images in"):
        list_images([str(tmp_path)], 5)
    archive = write_tar(tmp_path / "1.tar", [("x.txt", b"")])
    with pytest.raises(ConfigError, match=r"no images in .*1\.tar") as caught:
        list_images([str(archive)], 5)
    assert "1 .txt" in caught.value.hint


def test_the_hash_tells_listings_apart(photos: Path) -> None:
    first = list_images([str(photos)], 2).sha256
    assert first == list_images([str(photos)], 2).sha256
    (photos / "cat" / "3.png").write_bytes(b"")
    second = list_images([str(photos)], 2).sha256
    (photos / "cat" / "3.png").write_bytes(b"another image")
    assert len({first, second, list_images([str(photos)], 2).sha256}) == 3


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_the_hash_tells_images_of_other_sizes_apart(photos: Path, tmp_path: Path, scheme: str) -> None:
    rows = f"{scheme}{tmp_path}/x.parquet"
    for location, change in (
        (f"{scheme}{photos}", lambda: (photos / "cat" / "2.png").write_bytes(b"another image")),
        (rows, lambda: parquet(tmp_path / "x.parquet", {"bytes": [b"a", b"bb", b"c", b"ddd"]})),
    ):
        parquet(tmp_path / "x.parquet", {"bytes": [b"a", b"b", b"c", b"d"]})
        first = list_images([location], 2)
        assert first.sha256 == list_images([location], 2).sha256
        change()
        _open_cached.cache_clear()                 # a command opens a file of a store once
        assert [len(shard) for shard in list_images([location], 2).shards] == [len(shard) for shard in first.shards]
        assert first.sha256 != list_images([location], 2).sha256


def test_labels_come_from_folders_here_and_in_a_store(photos: Path) -> None:
    data, listing = list_labelled(str(photos), LABELS, None, 2)
    there, remote = list_labelled(f"file://{photos}", LABELS, None, 2)
    labels = [0, 0, 1, 1, 1]
    assert [item.label for item in data.items] == [item.label for item in there.items] == labels
    for listed in (listing, remote):
        assert [item.label for shard in listed.shards for item in open_shard(shard).items] == labels
    assert data.present == there.present == (0, 1)


def test_a_folder_of_a_store_that_is_no_class_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match="the folder 'cat' fits none of the 1 classes"):
        list_labelled(f"file://{photos}", Labels(("dog",)), None, 2)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_skipped_files_are_counted_here_and_in_a_store(photos: Path, scheme: str) -> None:
    for name in ("a.dng", "cat/._1.png", "cat/@eaDir/1.png/x.jpg", "__MACOSX/cat/1.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).touch()
    listing = list_images([f"{scheme}{photos}"], 2)
    expected = Skipped({".dng": 1, ".txt": 1}, hidden=2, system_folders=2)
    assert (listing.images, listing.skipped) == (5, expected)
    data, listing = list_labelled(f"{scheme}{photos}", LABELS, None, 2)
    assert (len(data.items), data.skipped, listing.skipped) == (5, expected, expected)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_each_empty_folder_is_an_error_that_lists_its_files(photos: Path, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.dng").touch()
    with pytest.raises(ConfigError, match=r"no images in .*none") as caught:
        list_images([f"{scheme}{photos}", f"{scheme}{tmp_path}/none"], 2)
    assert "1 .dng" in caught.value.hint


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("around", ["", "zip/"])
def test_the_held_out_split_is_listed(photos: Path, scheme: str, around: str) -> None:
    root = photos.parent / "data"
    for split in ("Train", "valid"):
        shutil.copytree(photos, root / around / split)
    data, listing = list_labelled(f"{scheme}{root}", LABELS, None, 2)
    assert [item.label for item in data.items] == [0, 0, 1, 1, 1]
    assert all(f"{around}valid/" in path for path in paths(listing.shards))
    assert any(f"took {scheme}{root}/{around}valid" in note for note in data.skipped.notes)
    shutil.copytree(photos, root / around / "test")
    with pytest.raises(DataError, match="is unclear") as caught:
        list_labelled(f"{scheme}{root}", LABELS, None, 2)
    assert f"{scheme}{root}/{around}valid or {scheme}{root}/{around}test" in caught.value.hint


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_split_beside_class_folders_is_refused(photos: Path, scheme: str) -> None:
    shutil.copytree(photos / "cat", photos / "val" / "cat")
    with pytest.raises(DataError, match="val"):
        list_labelled(f"{scheme}{photos}", LABELS, None, 2)


def test_labels_come_from_a_column(tmp_path: Path) -> None:
    file = parquet(tmp_path / "x.parquet", {"bytes": [b"a"] * 4, "label": [1, 0, 1, 1]})
    data, listing = list_labelled(file, LABELS, None, 3)
    assert [item.label for item in data.items] == [1, 0, 1, 1]
    assert [item.label for shard in listing.shards for item in open_shard(shard).items] == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"bytes": [b"a"]}, "no column 'label'"),
        ({"bytes": [b"a", b"b"], "label": [1, None]}, "row 1 of .* has no label"),
        ({"bytes": [b"a"], "label": [2]}, "has the label 2, which is none of the 2 classes"),
    ],
)
def test_invalid_labels_are_refused(columns: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        list_labelled(parquet(tmp_path / "x.parquet", columns), LABELS, None, 3)


def test_decoded_images_travel_in_their_shard() -> None:
    from wideresnet.cluster.listing import _cut

    pixels = np.zeros((2, 2, 3), np.uint8)
    (shard,) = _cut([Item("cifar 0", pixels, 3)], 8)
    (item,) = open_shard(shard).items
    assert item.source is pixels


def test_a_list_has_one_query_for_all_lines(tmp_path: Path) -> None:
    """Another endpoint is another store: the first line's was taken for all lines."""
    (tmp_path / "list.txt").write_text("s3://a/1.jpg?scheme=http\ns3://a/b/2.jpg?scheme=http\n")
    (shard,) = list_images([str(tmp_path / "list.txt")], 3).shards
    assert (shard.root, shard.keys) == ("s3://a/?scheme=http", ("1.jpg", "b/2.jpg"))
    for other in ("?scheme=https", ""):
        (tmp_path / "list.txt").write_text(f"s3://a/1.jpg?scheme=http\ns3://a/2.jpg{other}\n")
        with pytest.raises(DataError, match="lists files of several stores"):
            list_images([str(tmp_path / "list.txt")], 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_in_encodings_of_other_systems(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.txt").write_bytes("ä.png\r\nb.png\r\n".encode(encoding))
    assert paths(list_images([str(tmp_path / "list.txt")], 3).shards) == ["ä.png", "b.png"]


def test_a_list_of_names_that_are_no_utf8_keeps_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xe4.png\n")
    assert paths(list_images([str(tmp_path / "list.txt")], 3).shards) == [os.fsdecode(b"\xe4.png")]
