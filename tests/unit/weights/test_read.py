from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wideresnet.errors import WeightsError
from wideresnet.weights.read import open_weights, read_tensors, save_tensors


def write(path: Path, header: dict[str, object], data: bytes) -> Path:
    """A safetensors file by hand."""
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_saved_tensors_read_back_equal_with_metadata_and_hash(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "fc.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "bn.num_batches_tracked": np.array(7, np.int64),
    }
    path = tmp_path / "w.safetensors"
    save_tensors(path, tensors, {"made by": "a test"})
    with open_weights(path) as reader:
        assert reader.metadata == {"made by": "a test"}
        assert reader.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    read = read_tensors(path)
    assert set(read) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape


def test_saving_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "w.safetensors"
    save_tensors(path, {"a": np.zeros(2, np.float32)}, {})
    before = path.read_bytes()
    with pytest.raises(Exception, match="dtype"):
        save_tensors(path, {"a": np.array(["no number"])}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_becomes_float32_exactly(tmp_path):
    values = np.array([1.5, -2.0, 0.0078125, 65504.0], np.float32)
    half = values.astype("<f2").tobytes()
    brain = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    double = values.astype("<f8").tobytes()
    header = {"h": entry("F16", [4], 0, 8), "b": entry("BF16", [2, 2], 8, 16), "d": entry("F64", [4], 16, 48)}
    tensors = read_tensors(write(tmp_path / "w.bin", header, half + brain + double))
    np.testing.assert_array_equal(tensors["h"], values)
    np.testing.assert_array_equal(tensors["d"], values)
    kept = (values.view(np.uint32) >> 16 << 16).view(np.float32).reshape(2, 2)
    np.testing.assert_array_equal(tensors["b"], kept)
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}


def test_the_kind_is_told_by_content_not_by_ending(tmp_path):
    save_tensors(tmp_path / "w.pth", {"a": np.ones(1, np.float32)}, {})
    np.testing.assert_array_equal(read_tensors(tmp_path / "w.pth")["a"], [1])


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry("F32", [4], 0, 12)},           # size and shape disagree
        {"a": entry("F32", [4], 0, 1600)},         # beyond the end
        {"a": entry("F32", [2], 8, 16)},           # a hole at the beginning
        {"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 0, 16)},    # overlap
        {"a": entry("F32", [1 << 40, 1 << 40], 0, 16)},
        {"a": {"dtype": "F32"}},
        {"a": 5},
        {"a": entry("OWN", [4], 0, 16)},
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path, header):
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(write(tmp_path / "w.safetensors", header, bytes(16)))


def test_null_metadata_of_a_safetensors_header_are_none(tmp_path):
    path = write(tmp_path / "w.safetensors", {"__metadata__": None, "a": entry("F32", [4], 0, 16)}, bytes(16))
    with open_weights(path) as reader:
        assert (list(reader.shapes), reader.metadata) == (["a"], {})


def test_a_dtype_that_is_not_read_is_named(tmp_path):
    with pytest.raises(WeightsError, match="F8_E4M3"):
        read_tensors(write(tmp_path / "w.safetensors", {"a": entry("F8_E4M3", [4], 0, 4)}, bytes(4)))


OTHERS = {
    "it is empty": b"",
    "web page": b"\n<!DOCTYPE html><title>404</title>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
    "tar archive": bytes(257) + b"ustar\x0000" + bytes(300),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(30),
    "begins with": b"RIFF....",
    "Flax": b"\x82\xa6params\x81\xa4Conv",
    "OpenVINO model": b'<?xml version="1.0"?>\n<net name="Model0" version="11">',
    "ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x032.1",
    "gzip": b"\x1f\x8b\x08\x00",
    "Lua Torch": b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1",
    "no index of shards": b'{"hidden_size": 3}',
}


@pytest.mark.parametrize("look", OTHERS)
def test_a_file_of_another_kind_is_refused_by_what_it_is(tmp_path, look):
    path = tmp_path / "w.pth"
    path.write_bytes(OTHERS[look])
    with pytest.raises(WeightsError, match=look) as caught:
        read_tensors(path)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.ckpt-100.index", "model.ckpt-100.data-00000-of-00001", "model.ckpt-100.meta"])
def test_a_tensorflow_checkpoint_is_told_by_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(100))
    with pytest.raises(WeightsError, match="TensorFlow"):
        read_tensors(tmp_path / name)


def test_a_zip_archive_of_other_things_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("weights.pth", b"any")
    with pytest.raises(WeightsError, match=r"no file of torch\.save") as caught:
        read_tensors(tmp_path / "w.pth")
    assert "unzip" in caught.value.hint


def test_an_archive_of_arrays_gives_them_by_name(tmp_path):
    """Compressed or not; what is no number is said, and never loaded."""
    arrays = {
        "layer1.0.conv1.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "a/b/c": np.array(7, ">i8"),
        "bfloat16": np.array([0x3F80, 0x4000], np.uint16).view("V2"), "labels": np.array(["oak", "elm"]),
        "objects": np.array([{}], object),
    }  # fmt: skip
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "w.npz", **arrays)
        with open_weights(tmp_path / "w.npz") as reader:
            assert reader.shapes == {"layer1.0.conv1.weight": (2, 3), "a/b/c": (), "bfloat16": (2,)}
            assert reader.dtypes == {"layer1.0.conv1.weight": "float16", "a/b/c": "int64", "bfloat16": "bfloat16"}
            np.testing.assert_array_equal(reader.read("layer1.0.conv1.weight"), [[0, 1, 2], [3, 4, 5]])
            np.testing.assert_array_equal(reader.read("bfloat16"), [1, 2])
            assert reader.read("bfloat16").dtype == np.float32
            assert reader.read("a/b/c") == 7
            assert set(reader.facts) == {"labels", "objects"}
            assert not reader.ordered


def npy(shape: tuple[int, ...], data: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize("content", [npy((1 << 40,), bytes(8)), npy((2,), b"abc"), b"no array", b""])
def test_a_damaged_array_is_a_weights_error(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(WeightsError, match="damaged"), open_weights(tmp_path / "w.npz") as reader:
        reader.read("a")


def write_shards(folder: Path, locations: dict[str, str]) -> Path:
    """Two shards with a tensor each, and their index."""
    save_tensors(folder / "model-00001-of-00002.safetensors", {"a": np.ones(2, np.float32)}, {})
    save_tensors(folder / "model-00002-of-00002.safetensors", {"b": np.zeros((1, 3), np.float32)}, {})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 20}, "weight_map": locations}, indent=2))
    return index


SHARDS = {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors"}


def test_shards_are_read_through_their_index(tmp_path):
    with open_weights(write_shards(tmp_path, SHARDS)) as reader:
        assert reader.shapes == {"b": (1, 3), "a": (2,)}
        np.testing.assert_array_equal(reader.read("a"), [1, 1])
        hashes = "".join(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in sorted(SHARDS.values()))
        assert reader.sha256 == hashlib.sha256(hashes.encode()).hexdigest()


def test_one_of_several_shards_names_the_index(tmp_path):
    index = write_shards(tmp_path, SHARDS)
    with pytest.raises(WeightsError, match="one of 2 shards") as caught:
        read_tensors(tmp_path / SHARDS["a"])
    assert str(index) in caught.value.hint
    index.unlink()
    assert list(read_tensors(tmp_path / SHARDS["a"])) == ["a"]


@pytest.mark.parametrize(
    ("locations", "message"),
    [
        ({"a": "absent.safetensors"}, r"absent\.safetensors"),
        ({"c": SHARDS["a"]}, "lack 'c'"),
        ({"a": "../model.safetensors"}, "Invalid name"),
        ({"a": "model.safetensors.index.json"}, "no state dict|no file|damaged|pickle"),
        ({"a": 5}, "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path, locations, message):
    with pytest.raises(WeightsError, match=message):
        read_tensors(write_shards(tmp_path, locations))


@pytest.mark.parametrize("name", ["absent.pth", "."])
def test_a_path_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(WeightsError, match="cannot read") as caught:
        read_tensors(tmp_path / name)
    assert str(tmp_path / name) in caught.value.message
