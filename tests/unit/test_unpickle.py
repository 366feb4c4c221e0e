"""Pickles that would run code, exhaust memory or crash an ordinary unpickler run nothing here."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from fakes import python2_batch
from wideresnet.errors import WeightsError
from wideresnet.unpickle import Opaque, load_pickle
from wideresnet.weights.pth import MAGIC_NUMBER, PROTOCOL_VERSION
from wideresnet.weights.read import read_tensors


class Evil:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def write(path: Path, pickled: bytes, container: str) -> Path:
    """``pickled`` as the structure of a file of torch.save, or alone."""
    if container == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    elif container == "legacy":
        head = (MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True})
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2))
    else:
        path.write_bytes(pickled)
    return path


@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_malicious_file_runs_nothing_and_the_refusal_names_the_call(tmp_path, container, protocol):
    marker = tmp_path / "marker"
    pickled = pickle.dumps({"state_dict": Evil(os.system, f"touch {marker}")}, protocol)
    with pytest.raises(WeightsError, match=rf"'{os.name}\.system'") as caught:
        read_tensors(write(tmp_path / "evil.pth", pickled, container))
    assert "nothing of it was run" in caught.value.hint
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, os.remove, pickle.loads])
def test_no_callable_of_python_is_let_in(tmp_path, function):
    marker = tmp_path / "marker"
    marker.touch()
    with pytest.raises(WeightsError, match="refused"):
        load_pickle(io.BytesIO(pickle.dumps(Evil(function, str(marker)), 2)))
    assert marker.exists()


def test_a_call_hidden_in_the_arguments_of_an_allowed_one_is_refused(tmp_path):
    marker = tmp_path / "marker"
    inner = Evil(os.system, f"touch {marker}")
    for outer in (OrderedDict([("a", inner)]), [inner], (1, (inner,)), {"args": inner}):
        with pytest.raises(WeightsError, match="refused"):
            load_pickle(io.BytesIO(pickle.dumps(outer, 2)))
    assert not marker.exists()


GLOBAL_OS = b"cos\nsystem\n"
MARK, STOP = b"(", b"."
HOSTILE = {
    "INST calls a global by name": MARK + b"S'id'\n" + b"ios\nsystem\n" + STOP,
    "OBJ calls a global on the stack": MARK + GLOBAL_OS + b"o" + STOP,
    "a dotted STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + STOP,
    "STACK_GLOBAL of something that is no text": b"\x80\x04]]\x93" + STOP,
    "an extension code": b"\x80\x02\x82\x01" + STOP,
    "a textual persistent id": b"P0\n" + STOP,
    "a call of a dict": b"})R" + STOP,
    "a call of a storage type": b"ctorch\nFloatStorage\n)R" + STOP,
    "arguments that are no tuple": b"ccollections\nOrderedDict\n]R" + STOP,
    "attributes set on one of our functions": b"ctorch\nSize\n}b" + STOP,
    "attributes set on a list": b"]}b" + STOP,
    "a memo index of four thousand million": b"]r\xff\xff\xff\xff" + b"j\xfe\xff\xff\xff" + STOP,
    "bytes said to be 2**62 long": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + STOP,
    "bytes said to be 2 GB long": b"\x80\x03B" + struct.pack("<I", (1 << 31) - 1) + STOP,
    "the hash of a tuple nested 200,000 deep": b"})" + b"\x85" * 200_000 + b"Ns" + STOP,
    "a dict as a dict's key": b"}}Ns" + STOP,
    "more taken from the stack than there is": b"\x87" + STOP,
    "a mark that was never set": b"t" + STOP,
    "an empty stack": STOP,
    "no end": b"}",
    "an unknown opcode": b"\xff" + STOP,
    "nothing": b"",
    "a storage reference that is none": b"]Q" + STOP,
    "a tensor without a storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))NNtR" + STOP,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_opcodes_end_in_a_weights_error(name):
    with pytest.raises(WeightsError):
        load_pickle(io.BytesIO(HOSTILE[name]))


def test_a_dict_that_holds_itself_is_read_to_an_end(tmp_path):
    loop: dict[str, object] = {}
    loop["model"] = loop
    with pytest.raises(WeightsError, match="no state dict"):
        read_tensors(write(tmp_path / "loop.pth", pickle.dumps(loop, 2), "zip"))


def test_plain_values_come_through_every_protocol():
    value = {"a": [1, -2, 1 << 70, 0.5, None, True, False], "b": ("x" * 300, b"y", (1, 2, 3, 4)), 3: {}}
    for protocol in (1, 2, 3, 4, 5):
        pickled = pickle.dumps(value, protocol)
        if protocol > 2:                           # bytes before protocol 3 are a call of _codecs.encode
            assert load_pickle(io.BytesIO(pickled)).value == value
        else:
            assert load_pickle(io.BytesIO(pickled)).value["a"] == value["a"]


def test_what_lies_beside_the_weights_stays_a_name():
    from argparse import Namespace

    read = load_pickle(io.BytesIO(pickle.dumps({"args": Namespace(lr=0.1), "seen": {1, 2}}, 2))).value
    assert read == {"args": Opaque("argparse.Namespace"), "seen": Opaque("__builtin__.set")}


def test_pickle_itself_is_never_imported():
    import wideresnet.unpickle
    import wideresnet.weights.pth
    import wideresnet.weights.read

    for module in (wideresnet.weights.pth, wideresnet.weights.read, wideresnet.unpickle):
        assert "pickle" not in vars(module)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_are_read_where_they_are_asked_for(protocol):
    """With their types, shapes and byte orders; beside weights they stay names."""
    numbers = np.arange(12).reshape(3, 4)
    arrays = [numbers.astype(kind) for kind in ("u1", "<i8", ">i4", "<f4", "?")]
    arrays += [np.asfortranarray(numbers), np.array(7)]
    pickled = pickle.dumps({"arrays": arrays, "bytes": b"\xff\0", "none": b""}, protocol)
    read = load_pickle(io.BytesIO(pickled), arrays=True).value
    for found, array in zip(read["arrays"], arrays, strict=True):
        np.testing.assert_array_equal(found.values, array)
        assert found.values.dtype == array.dtype
    assert (read["bytes"], read["none"]) == (b"\xff\0", b"")


def test_an_array_of_python_2_is_read():
    """Its numbers are a string of the pickle."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    read = load_pickle(io.BytesIO(python2_batch(pixels, [1, 2, 3])), arrays=True).value
    np.testing.assert_array_equal(read["data"].values, pixels)
    assert read["labels"] == [1, 2, 3]


ENCODE = b"c_codecs\nencode\n"
DTYPE = b"cnumpy\ndtype\n"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(NNNtR"
HOSTILE_ARRAYS = {
    "bytes that multiply": ENCODE + b"X" + struct.pack("<I", 60_000) + b"x" * 60_000 + b"U\x06latin1\x86q\1"
    + b"R" + (ENCODE + b"h\1R") * 2000 + STOP,
    "another encoding": ENCODE + b"X\1\0\0\0xU\3hex\x86R" + STOP,
    "bytes of a number": b"c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R" + STOP,
    "objects": DTYPE + b"U\2O8K\0K\1\x87R" + STOP,
    "a type of fields": DTYPE + b"]\x85R" + STOP,
    "more numbers than there are": EMPTY + b"(K\1J\xff\xff\xff\x7f\x85" + DTYPE + b"U\2u1\x85R\x89U\1xtb" + STOP,
    "an array of a list": EMPTY + b"(K\1K\1\x85" + DTYPE + b"U\2u1\x85R\x89]tb" + STOP,
    "a state that is none": EMPTY + b"Nb" + STOP,
    "a type that is none": EMPTY + b"(K\1K\1\x85N\x89U\1xtb" + STOP,
}


@pytest.mark.parametrize("name", HOSTILE_ARRAYS)
def test_hostile_arrays_end_in_a_weights_error(name):
    with pytest.raises(WeightsError):
        load_pickle(io.BytesIO(HOSTILE_ARRAYS[name]), arrays=True)
