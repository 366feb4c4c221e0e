from __future__ import annotations

import io
import random
import struct
from typing import Any

import numpy as np
import pytest

from mat5 import write_arrays, write_structs
from wideresnet.datasets.matlab import HEADER_BYTES, read_arrays, read_structs
from wideresnet.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"ID": 1, "WNID": "n00000001", "words": "tench, 丁鲷", "children": 0.0, "cell": None},
    {"ID": 1000, "WNID": "n00000002", "words": "", "children": 2.5, "cell": None},
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("small", [True, False])
def test_texts_and_numbers_come_back_whatever_the_form(order, compressed, small):
    rows = read_structs(write_structs("synsets", ROWS, order=order, compressed=compressed, small=small), "synsets")
    assert [(row["ID"][0], row["WNID"], row["words"], row["children"][0]) for row in rows] == [
        (1, "n00000001", "tench, 丁鲷", 0.0),
        (1000, "n00000002", "", 2.5),
    ]
    assert rows[0]["cell"] is None


def test_it_reads_what_scipy_writes():
    io_ = pytest.importorskip("scipy.io")
    rows = np.zeros((2, 1), [("ID", "O"), ("WNID", "O"), ("children", "O")])
    rows[0, 0] = (np.array([[3]], np.uint16), "n00000003", np.zeros((0, 0)))
    rows[1, 0] = (np.array([[4]], np.uint8), "n00000004", np.array([[5, 6]], np.int32))
    for compression in (True, False):
        file = io.BytesIO()
        io_.savemat(file, {"other": np.eye(3), "synsets": rows}, do_compression=compression)
        first, second = read_structs(file.getvalue(), "synsets")
        assert (first["ID"], first["WNID"], first["children"].size) == (3, "n00000003", 0)
        assert (second["ID"], second["WNID"], second["children"].tolist()) == (4, "n00000004", [5, 6])


def test_another_kind_of_file_is_refused():
    for data in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(600)):
        with pytest.raises(DataError, match="not a MATLAB file of version 5"):
            read_structs(data, "synsets")


def test_an_array_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(DataError, match="no struct array 'synsets'") as caught:
        read_structs(write_structs("others", ROWS), "synsets")
    assert "others" in caught.value.hint


@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_file_is_an_error_and_never_a_crash(compressed):
    data = write_structs("synsets", ROWS, compressed=compressed)
    for end in range(HEADER_BYTES + 1, len(data), 7):
        with pytest.raises(DataError):
            read_structs(data[:end], "synsets")
    dice = random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[dice.randrange(HEADER_BYTES, len(damaged))] = dice.randrange(256)
        try:
            read_structs(bytes(damaged), "synsets")
        except DataError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("kind", [0, 8, 25, 60, 200, 1000, 65535])
def test_an_unknown_type_of_numbers_is_an_error(kind):
    """SciPy 1.17 ends the process with a segmentation fault for these (docs/decisions/log.md)."""
    data = bytearray(write_arrays({"X": np.arange(120, dtype=np.uint8)[None]}, compressed=False))
    position = data.rindex(struct.pack("<II", 2, 120))
    data[position : position + 4] = struct.pack("<I", kind)
    with pytest.raises(DataError, match="damaged"):
        read_arrays(bytes(data), ["X"])


def test_deeply_nested_arrays_are_an_error():
    """They overflow SciPy's stack."""
    head = b"".join(struct.pack("<IIII", *fields) for fields in [(6, 8, 2, 0), (5, 8, 1, 1)]) + struct.pack("<II", 1, 0)
    head += struct.pack("<II", 4 << 16 | 5, 8) + struct.pack("<II", 1, 8) + b"field\0\0\0"
    arrays, size = [], 0
    for _ in range(20_000):
        arrays.append(struct.pack("<II", 14, size + len(head)) + head)
        size += len(arrays[-1])
    data = write_arrays({}) + b"".join(reversed(arrays))
    with pytest.raises(DataError, match="damaged"):
        read_structs(data, "")


def test_a_part_that_would_fill_the_memory_is_not_unpacked(monkeypatch):
    monkeypatch.setattr("wideresnet.datasets.matlab.MAX_BYTES", 100)
    with pytest.raises(DataError, match="cut short, or larger"):
        read_structs(write_structs("synsets", ROWS), "synsets")


# Numeric arrays

ARRAYS = {"X": np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5), "y": np.array([[10.0], [1.5], [3.0]])}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
def test_numbers_come_back_in_their_shape(order, compressed):
    data = write_arrays(ARRAYS, order=order, compressed=compressed)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(read_arrays(data, [name])[0], expected)
    assert [array.dtype.kind for array in read_arrays(data, ["y", "X"])] == ["f", "u"], "in the order asked for"


def test_it_reads_numbers_as_scipy_writes_them():
    io_ = pytest.importorskip("scipy.io")
    for compression in (True, False):
        file = io.BytesIO()
        io_.savemat(file, ARRAYS, do_compression=compression)
        for name, expected in ARRAYS.items():
            np.testing.assert_array_equal(read_arrays(file.getvalue(), [name])[0], expected)


def test_an_array_that_is_absent_or_of_another_kind_is_an_error():
    with pytest.raises(DataError, match="no numeric array 'Z'") as caught:
        read_arrays(write_arrays(ARRAYS), ["Z"])
    assert caught.value.hint == "it has X, y"
    with pytest.raises(DataError, match="no numeric array 'synsets'"):
        read_arrays(write_structs("synsets", ROWS), ["synsets"])
    with pytest.raises(DataError, match="no struct array 'X'"):
        read_structs(write_arrays(ARRAYS), "X")


def test_an_array_with_fewer_numbers_than_its_shape_says_is_damaged():
    data = bytearray(write_arrays({"X": ARRAYS["X"]}, compressed=False))
    sides = data.index(np.array([2, 3, 4, 5], "<i4").tobytes())
    data[sides] = 7
    with pytest.raises(DataError, match="damaged"):
        read_arrays(bytes(data), ["X"])


def test_a_larger_array_is_read_where_that_is_allowed():
    data = write_arrays({"X": np.zeros(5000, np.uint8)})
    with pytest.raises(DataError, match="cut short, or larger"):
        read_arrays(data, ["X"], max_bytes=1000)
    assert read_arrays(data, ["X"], max_bytes=10_000)[0].size == 5000
