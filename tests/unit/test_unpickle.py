"""Pickles that would run code, exhaust memory or crash an ordinary unpickler run nothing here."""

from __future__ import annotations

import code
import enum
import functools
import io
import os
import pickle
import runpy
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest

from fakes import python2_batch
from wideresnet.errors import WeightsError
from wideresnet.unpickle import load_pickle
from wideresnet.unpickle.values import Opaque
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


CALLABLES = [
    eval, exec, __import__, open, breakpoint, os.remove, pickle.loads, subprocess.run, runpy.run_path, code.interact,
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", CALLABLES)
def test_no_callable_that_only_malicious_files_use_is_let_in(tmp_path, function, protocol):
    marker = tmp_path / "marker"
    marker.touch()
    with pytest.raises(WeightsError, match="refused"):
        load_pickle(io.BytesIO(pickle.dumps(Evil(function, str(marker)), protocol)))
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


STORAGE = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\1tQ"
TENSOR = b"\x80\x02}S'w'\nctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0K\1\x85K\1\x85I00\n}tRs" + STOP


@pytest.mark.parametrize("keys", [["0"], [], [5], [[]], ["0", "1"], 5])
def test_storages_that_are_not_the_listed_ones_are_refused(tmp_path, keys):
    path = write(tmp_path / "old.pth", TENSOR, "legacy")
    numbers = struct.pack("<qf", 1, 2.5)
    path.write_bytes(path.read_bytes().removesuffix(pickle.dumps([], 2)) + pickle.dumps(keys, 2) + numbers)
    if keys == ["0"]:
        assert read_tensors(path) == {"w": np.float32([2.5])}
        return
    with pytest.raises(WeightsError, match="does not fit the structure"):
        read_tensors(path)


def test_a_storage_outside_of_a_file_of_torch_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="beyond its storage"):
        read_tensors(write(tmp_path / "bare.pth", TENSOR, "bare"))


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


def load(value: object, protocol: int = 2) -> object:
    return load_pickle(io.BytesIO(pickle.dumps(value, protocol))).value


def opaque(value: object) -> tuple[str, list[object]]:
    """The name and the parts of an opaque value, however deep."""
    assert isinstance(value, Opaque)
    return value.name, [tuple(map(plain, part)) if isinstance(part, tuple) else plain(part) for part in value.parts]


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return opaque(value) if isinstance(value, Opaque) else value


class Settings(dict):
    """As Lightning's AttributeDict, EasyDict and addict's Dict."""


class Lines(list):
    """A list of a training package."""


class Mode(enum.Enum):
    TEST = 3


class Slotted:
    __slots__ = ("rate",)


class Made:
    """Pickled by NEWOBJ_EX."""

    def __getnewargs_ex__(self):
        return (1,), {"rate": 0.1}

    def __new__(cls, *_positional, rate=0.0):
        return super().__new__(cls)


@pytest.mark.parametrize("protocol", [2, 4])
def test_values_of_any_class_keep_their_name_and_what_is_in_them(protocol):
    from argparse import Namespace

    slotted, settings, lines = Slotted(), Settings(lr=0.1), Lines([1, 2])
    slotted.rate = 0.5
    settings.note = "set"
    assert opaque(load(Namespace(lr=0.1), protocol)) == ("argparse.Namespace", [{"lr": 0.1}])
    assert opaque(load(settings, protocol)) == (f"{__name__}.Settings", [{"lr": 0.1}, {"note": "set"}])
    assert opaque(load(lines, protocol)) == (f"{__name__}.Lines", [[1, 2]])
    assert opaque(load(slotted, protocol)) == (f"{__name__}.Slotted", [(None, {"rate": 0.5})])
    assert opaque(load(Mode.TEST, protocol)) == (f"{__name__}.Mode", [(3,)])
    assert opaque(load(Settings, protocol)) == (f"{__name__}.Settings", [])
    assert opaque(load(Path("/x"), protocol))[1] == [("/", "x")]
    name, (arguments, state) = opaque(load(functools.partial(Settings, eps=0.001), protocol))
    assert (name, arguments) == ("functools.partial", ((f"{__name__}.Settings", []),))
    assert state[1:3] == ((), {"eps": 0.001})


def test_keyword_arguments_of_a_constructor_are_kept():
    assert opaque(load(Made(), 4)) == (f"{__name__}.Made", [(1,), {"rate": 0.1}])


@pytest.mark.parametrize("protocol", [2, 4])
def test_containers_of_the_standard_library_are_dicts_and_lists(protocol):
    counted = defaultdict(list)
    counted["a"].append(1)
    value = {"set": {1}, "frozen": frozenset({2}), "default": counted, "counter": Counter("aab"), 5: OrderedDict(x=1)}
    assert load(value, protocol) == {
        "set": [1], "frozen": [2], "default": {"a": [1]}, "counter": {"a": 2, "b": 1}, 5: {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
def test_numpy_scalars_are_numbers_and_what_is_no_plain_number_stays_opaque(protocol):
    assert load([np.float64(0.5), np.int64(3), np.bool_(True)], protocol) == [0.5, 3, True]
    opaque(load(np.dtype("U5"), protocol))
    assert load(np.array(["oak"]), protocol).values.size == 0
    assert load(np.array([{}], object), protocol).values.size == 0
    np.testing.assert_array_equal(load(np.arange(3), protocol).values, [0, 1, 2])


def test_keys_that_are_classes_enums_or_tuples_are_texts():
    keys = {Settings: 1, Mode.TEST: 2, (1, "a"): 3}
    assert load(keys) == {f"{__name__}.Settings": 1, f"{__name__}.Mode.3": 2, "(1, 'a')": 3}


ABSENT = b"cabsent.package\nTrainer\n"
LET_THROUGH = {
    "a class with a call of an unknown function": (b"cabsent.package\nmake\n(S'x'\ntR", "absent.package.make"),
    "an attribute of a class": (b"c__builtin__\ngetattr\n(" + ABSENT + b"S'step'\ntR", "__builtin__.getattr"),
    "a call of an attribute": (b"c__builtin__\ngetattr\n(" + ABSENT + b"S'step'\ntR(tR", "__builtin__.getattr"),
    "INST": (b"(S'x'\niabsent.package\nTrainer\n", "absent.package.Trainer"),
    "OBJ": (b"(" + ABSENT + b"S'x'\no", "absent.package.Trainer"),
    "an object of protocol 1": (
        b"ccopy_reg\n_reconstructor\n(" + ABSENT + b"c__builtin__\nobject\nNtR}b", "copy_reg._reconstructor",
    ),
    "a module with its source": (
        b"(S'module'\n" + ABSENT + b"S'a.py'\nS'import absent'\ntQ)\x81", "absent.package.Trainer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LET_THROUGH)
def test_what_is_let_through_is_a_name_and_imports_nothing(case):
    pickled, name = LET_THROUGH[case]
    before = set(sys.modules)
    assert opaque(load_pickle(io.BytesIO(pickled + b".")).value)[0] == name
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "value",
    [
        functools.partial(os.system, "id"), {os.system: 1}, Evil(getattr, os, "system"), Evil(Settings, os.system),
        Evil(functools.partial, eval, "1"),
    ],
)  # fmt: skip
def test_a_dangerous_name_is_refused_wherever_it_stands(value):
    try:
        pickled = pickle.dumps(value, 2)
    except TypeError:                              # a module is not pickled
        pickled = b"c__builtin__\ngetattr\n(cos\npath\nS'system'\ntR."
    with pytest.raises(WeightsError, match="refused"):
        load_pickle(io.BytesIO(pickled))


LONG = b"X" + struct.pack("<I", 100_000) + b"x" * 100_000 + b"q\1"
MANY = b"](" + b"K\1" * 10_000 + b"eq\1"
BOMBS = {
    "a global with a long name": LONG + b"h\1\x93" + STOP,
    "objects without end": b"cabsent\nName\nq\1](" + b"h\1)R" * 20_000 + b"e" + STOP,
    "long names without end": b"U\xf0" + b"x" * 240 + b"q\1](" + b"h\1h\1\x93" * 20_000 + b"e" + STOP,
    "sets that multiply": MANY + b"](" + b"c__builtin__\nset\nh\1\x85R" * 100 + b"e" + STOP,
    "opcodes without end": b"N0" * 100_000 + b"N" + STOP,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_that_makes_too_much_of_little_is_refused(bomb, monkeypatch):
    monkeypatch.setattr("wideresnet.unpickle.MAX_OPCODES", 150_000)
    with pytest.raises(WeightsError):
        load_pickle(io.BytesIO(BOMBS[bomb]), limit=1 << 20)


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


def keys_of(parts):
    return b"\x80\x02}(" + b"".join(part + b"N" for part in parts) + b"u."


def test_keys_and_memos_of_one_hash_take_no_minutes():
    """Python's hash of a number is its rest by 2**61 - 1; those of -1 and -2 are the same."""
    numbers = [b"\x8a\x09" + (k * (2**61 - 1)).to_bytes(9, "little") for k in range(1, 40)]
    with pytest.raises(WeightsError, match="number without end"):
        load_pickle(io.BytesIO(keys_of(numbers)))
    memos = b"\x80\x02N" + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(1, 40)) + b"."
    with pytest.raises(WeightsError, match="a size or offset that cannot be"):
        load_pickle(io.BytesIO(memos))
    pairs = keys_of([b"(J\xff\xff\xff\xff\x58\1\0\0\0at", b"(J\xfe\xff\xff\xff\x58\1\0\0\0at"])
    assert load_pickle(io.BytesIO(pairs)).value == {"(-1, 'a')": None, "(-2, 'a')": None}
