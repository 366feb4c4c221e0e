"""Files of features: whole or not there, any number of rows, and the paths beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from wideresnet.errors import ConfigError, MissingExtra
from wideresnet.output.features import features_suffix, open_features
from wideresnet.records import Embedding

SHAPES = {"layer2": (3, 2, 2), "features": (4,)}


def rows(count: int, **shapes: tuple[int, ...]) -> list[Embedding]:
    rng = np.random.default_rng(0)
    return [
        Embedding(f"{i:03}.png", {name: rng.random(shape, np.float32) for name, shape in shapes.items()})
        for i in range(count)
    ]


def write(file: Path, embeddings: list[Embedding], shapes: dict[str, tuple[int, ...]], dtype: str = "float32") -> None:
    with open_features(file, shapes, dtype) as add:
        for embedding in embeddings:
            add(embedding)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_an_npy_file_holds_all_rows_in_order(tmp_path: Path, count: int) -> None:
    embeddings = rows(count, layer2=(3, 2, 2))
    write(tmp_path / "new" / "out.npy", embeddings, {"layer2": (3, 2, 2)})
    array = np.load(tmp_path / "new" / "out.npy", mmap_mode="r")
    assert (array.dtype, array.shape) == (np.float32, (count, 3, 2, 2))
    for row, embedding in zip(array, embeddings, strict=True):
        np.testing.assert_array_equal(row, embedding.values["layer2"])
    paths = (tmp_path / "new" / "out.npy.paths.txt").read_text().splitlines()
    assert paths == [embedding.path for embedding in embeddings]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"out.npy", "out.npy.paths.txt"}


@pytest.mark.parametrize("count", [0, 5])
def test_an_npz_file_holds_each_layer_under_its_name(tmp_path: Path, count: int) -> None:
    embeddings = rows(count, **SHAPES)
    write(tmp_path / "out.npz", embeddings, SHAPES)
    with np.load(tmp_path / "out.npz") as array:
        assert {name: array[name].shape for name in array.files} == {"layer2": (count, 3, 2, 2), "features": (count, 4)}
        for index, embedding in enumerate(embeddings):
            for name in SHAPES:
                np.testing.assert_array_equal(array[name][index], embedding.values[name])
    assert {path.name for path in tmp_path.iterdir()} == {"out.npz", "out.npz.paths.txt"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("count", [0, 5, 1030])
def test_a_parquet_file_has_a_column_a_layer(tmp_path: Path, count: int, dtype: str) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    embeddings = rows(count, layer2=(3,), features=(4,))
    write(tmp_path / "out.parquet", embeddings, {"layer2": (3,), "features": (4,)}, dtype)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["path", "layer2", "features"]
    assert table["path"].to_pylist() == [embedding.path for embedding in embeddings]
    for name, width in {"layer2": 3, "features": 4}.items():
        array = np.array(table[name].to_pylist(), dtype).reshape(-1, width)
        expected = np.array([embedding.values[name] for embedding in embeddings], dtype)
        np.testing.assert_array_equal(array, expected.reshape(-1, width))
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out.parquet"])
def test_whatever_goes_wrong_the_old_file_stays_and_nothing_else(tmp_path: Path, name: str) -> None:
    if name == "out.parquet":
        pytest.importorskip("pyarrow")
    shapes = {"features": (4,)}
    write(tmp_path / name, rows(2, **shapes), shapes)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted() -> None:
        with open_features(tmp_path / name, shapes, "float32") as add:
            add(rows(1, **shapes)[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_half_the_size_and_never_infinite(tmp_path: Path) -> None:
    embeddings = rows(3, features=(4,))
    write(tmp_path / "out.npy", embeddings, {"features": (4,)}, "float16")
    array = np.load(tmp_path / "out.npy")
    assert array.dtype == np.float16
    np.testing.assert_allclose(array, [embedding.values["features"] for embedding in embeddings], rtol=1e-3)
    large = Embedding("a.png", {"features": np.full(4, 1e5, np.float32)})
    with pytest.raises(ConfigError, match="too large for float16") as caught:
        write(tmp_path / "large.npy", [large], {"features": (4,)}, "float16")
    assert caught.value.hint == "write float32"
    assert not (tmp_path / "large.npy").exists()


def test_every_path_is_one_line_whatever_its_bytes(tmp_path: Path) -> None:
    odd = [Embedding(path, {"features": np.zeros(4, np.float32)}) for path in ("a\nb.png", "caf\udce9.png", "c.png")]
    write(tmp_path / "out.npy", odd, {"features": (4,)})
    assert (tmp_path / "out.npy.paths.txt").read_bytes() == b"a\\u000ab.png\ncaf\\udce9.png\nc.png\n"
    pq = pytest.importorskip("pyarrow.parquet")
    write(tmp_path / "out.parquet", odd, {"features": (4,)})
    assert pq.read_table(tmp_path / "out.parquet")["path"].to_pylist() == ["a\nb.png", "caf\\udce9.png", "c.png"]


def test_what_a_file_cannot_hold_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds one array, not 2 layers") as caught:
        features_suffix(tmp_path / "out.npy", ["layer2", "layer3"])
    assert caught.value.hint == "write out.npz"
    with pytest.raises(ConfigError, match="unknown format of features") as caught:
        features_suffix(tmp_path / "out.parqet", ["layer2"])
    assert caught.value.hint == "did you mean '.parquet'?"
    with pytest.raises(ConfigError, match="not the maps"):
        write(tmp_path / "out.parquet", [], {"layer2": (3, 2, 2)})
    assert list(tmp_path.iterdir()) == []


def test_parquet_that_is_not_installed_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match="writing Parquet needs pyarrow") as caught:
        write(tmp_path / "out.parquet", [], {"features": (4,)})
    assert caught.value.hint == "pip install 'wideresnet[parquet]'"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot write"):
        write(tmp_path / "file" / "out.npy", [], {"features": (4,)})
