"""Parquet files of images as hubs keep them, read a group of rows at a time."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from fakes import write_hub
from wideresnet.datasets import parquet as module
from wideresnet.datasets.parquet import ParquetRow, open_parquet, parquet_rows
from wideresnet.errors import DataError, ImageError, MissingExtra

pa = pytest.importorskip("pyarrow", reason="needs the extra parquet")

DATA = [bytes([number]) * 5 for number in range(8)]
NAMES = [f"{number}.jpg" for number in range(8)]
STRUCT = [{"bytes": data, "path": name} for data, name in zip(DATA, NAMES, strict=True)]


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    module._open_cached.cache_clear()
    module._read_group.cache_clear()


@pytest.mark.parametrize(
    "columns",
    [
        {"image": STRUCT, "label": range(8)},
        {"img": STRUCT, "fine_label": range(8), "coarse_label": [0] * 8},
        {"jpg": STRUCT, "cls": pa.array(range(8), pa.int8()), "__key__": NAMES},
        {"bytes": DATA, "path": NAMES, "label": pa.array(range(8), pa.int64())},
        {"image": pa.array(DATA, pa.large_binary()), "file_name": NAMES, "label": range(8)},
    ],
    ids=lambda columns: "-".join(columns),
)
def test_the_columns_of_hubs_are_known(columns: dict[str, Any], tmp_path: Path) -> None:
    """Structs of bytes and path, or plain bytes; classes under the names in use."""
    file = write_hub(tmp_path / "x.parquet", {name: pa.array(column) for name, column in columns.items()})
    rows = list(parquet_rows(str(file)))
    images = [(name, source.read(99), label) for name, source, label in rows]
    assert images == list(zip(NAMES, DATA, range(8), strict=True))


def test_text_is_no_image_and_a_list_no_label(tmp_path: Path) -> None:
    """A column "image" of file names is not read as pixels."""
    file = write_hub(tmp_path / "x.parquet", {"image": NAMES, "label": [[1]] * 8})
    with pytest.raises(DataError, match=r"no column of images; its columns are image, label\.list\.element"):
        open_parquet(str(file))
    file = write_hub(tmp_path / "y.parquet", {"image": STRUCT, "label": [[1]] * 8})
    assert {label for _, _, label in parquet_rows(str(file))} == {None}


def test_classes_may_be_text_or_missing(tmp_path: Path) -> None:
    file = write_hub(tmp_path / "x.parquet", {"image": STRUCT[:3], "label": ["cat", None, "dog"]})
    assert [label for _, _, label in parquet_rows(str(file))] == ["cat", None, "dog"]


def test_rows_without_a_path_or_with_that_of_another_are_numbered(tmp_path: Path) -> None:
    """So that every row has a name of its own."""
    rows = [{"bytes": b"a", "path": "a.jpg"}, {"bytes": b"b", "path": None}, {"bytes": b"c", "path": "c.jpg"}]
    file = str(write_hub(tmp_path / "x.parquet", {"image": rows}, rows_a_group=2))
    assert [name for name, _, _ in parquet_rows(file)] == ["a.jpg", f"{file}#1", "c.jpg"]
    assert [name for name, _, _ in parquet_rows(file, prefixed=True)] == [f"{file}/a.jpg", f"{file}#1", f"{file}/c.jpg"]
    rows[2]["path"] = "a.jpg"
    file = str(write_hub(tmp_path / "y.parquet", {"image": rows}, rows_a_group=2))
    names = [f"{file}#0/a.jpg", f"{file}#1", f"{file}#2/a.jpg"]
    assert [name for name, _, _ in parquet_rows(file)] == names
    assert [name for name, _, _ in parquet_rows(file, prefixed=True)] == names


def test_the_schema_names_the_classes(tmp_path: Path) -> None:
    """In the metadata that a hub writes; without, there are no names."""
    columns = {"image": STRUCT, "label": [0] * 8}
    assert open_parquet(str(write_hub(tmp_path / "x.parquet", columns, ["cat", "dog"]))).classes == ("cat", "dog")
    assert open_parquet(str(write_hub(tmp_path / "y.parquet", columns))).classes == ()
    assert open_parquet(str(write_hub(tmp_path / "z.parquet", {"image": STRUCT}))).classes == ()


def test_memory_holds_two_groups_of_rows_whatever_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, each group is read once."""
    read = []
    images = module.ParquetImages.images
    monkeypatch.setattr(module.ParquetImages, "images", lambda self, group: read.append(group) or images(self, group))
    rows = list(parquet_rows(str(write_hub(tmp_path / "x.parquet", {"bytes": DATA}))))
    assert read == []
    assert [source.read(99) for _, source, _ in rows] == DATA
    assert read == [0, 1, 2]
    assert module._read_group.cache_info().currsize == 2


def test_a_row_is_read_by_other_processes_too(tmp_path: Path) -> None:
    rows = list(parquet_rows(str(write_hub(tmp_path / "x.parquet", {"bytes": DATA}))))
    assert pickle.loads(pickle.dumps(rows[4][1])).read(99) == DATA[4]
    assert rows[0][1].fingerprint == rows[1][1].fingerprint
    assert rows[0][1].fingerprint.isdecimal()


def test_a_file_that_took_the_place_of_another_is_read_anew(tmp_path: Path) -> None:
    """A process that goes on does not answer for the old one."""
    for data in DATA[:2]:
        ((_, row, _),) = parquet_rows(str(write_hub(tmp_path / "x.parquet", {"bytes": [data]})))
        assert row.read(99) == data


def test_what_is_damaged_is_one_failure(tmp_path: Path) -> None:
    """A group of rows whose bytes are others, a row that is not there, a file that has gone."""
    file = write_hub(tmp_path / "x.parquet", {"bytes": DATA}, rows_a_group=8)
    (_, row, _), *_ = parquet_rows(str(file))
    data = bytearray(file.read_bytes())
    data[4:60] = b"\xff" * 56
    file.write_bytes(data)
    for broken in (row, ParquetRow(str(file), 0, 99), ParquetRow(str(tmp_path / "y.parquet"), 0, 0)):
        module._open_cached.cache_clear()
        with pytest.raises(ImageError, match="cannot be read"):
            broken.read(99)


def test_another_file_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 no such thing")
    with pytest.raises(DataError, match="is not a Parquet file"):
        open_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(DataError, match="no such file or directory"):
        open_parquet(str(tmp_path / "y.parquet"))


def test_without_pyarrow_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="reading Parquet needs pyarrow") as caught:
        open_parquet(str(tmp_path / "x.parquet"))
    assert caught.value.hint == "pip install 'wideresnet[parquet]'"
