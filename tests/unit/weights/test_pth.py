"""Files that torch.save itself writes read back equal, in both of its formats."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from shared import SHARED, needs_shared
from wideresnet.errors import WeightsError
from wideresnet.unpickle.values import Opaque
from wideresnet.weights.flatten import flatten
from wideresnet.weights.read import open_weights, read_tensors, sha256_of

torch = pytest.importorskip("torch", reason="torch.save writes the files")
both_formats = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(path: Path, value: object, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


@both_formats
def test_every_layout_and_type_of_tensor_reads_back(tmp_path, zipped):
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    state = {
        "plain": base,
        "transposed": base.t(),
        "strided": base[::2, 1::3],
        "offset": base[3],
        "permuted": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1),
        "channels_last": torch.arange(48.0).reshape(1, 3, 4, 4).to(memory_format=torch.channels_last),
        "expanded": torch.ones(1, 4).expand(3, 4),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "double": base.double(),
        "counter": torch.tensor(7),
        "int32": torch.arange(3, dtype=torch.int32),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(base[0].clone()),
    }
    arrays = read_tensors(save(tmp_path / "w.pth", state, zipped))
    assert list(arrays) == list(state)
    for name, tensor in state.items():
        expected = tensor.detach().float() if tensor.is_floating_point() else tensor
        np.testing.assert_array_equal(arrays[name], expected.numpy(), err_msg=name)
        assert arrays[name].dtype == expected.numpy().dtype, name
        assert arrays[name].flags.c_contiguous, name
        assert arrays[name].flags.writeable, name
    assert arrays["counter"].shape == ()


@both_formats
@pytest.mark.parametrize(
    ("function", "convert"),
    [
        ("_rebuild_device_tensor_from_cpu_tensor", lambda tensor: tensor),
        ("_rebuild_device_tensor_from_numpy", torch.Tensor.numpy),
        ("_rebuild_xla_tensor", torch.Tensor.numpy),
    ],
)
def test_tensors_of_tpus_read_back(tmp_path, zipped, function, convert):
    """They are written as tensors or arrays of the CPU, and the device to bring them to."""

    class OnTpu:
        def __reduce__(self):
            values = convert(torch.arange(6.0).view(2, 3))
            return getattr(torch._utils, function), (values, torch.float32, "xla:0", False)

    arrays = read_tensors(save(tmp_path / "w.pth", {"conv1.weight": OnTpu()}, zipped))
    np.testing.assert_array_equal(arrays["conv1.weight"], np.arange(6, dtype=np.float32).reshape(2, 3))


@both_formats
def test_a_module_s_state_dict_keeps_its_order(tmp_path, zipped):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
    arrays = read_tensors(save(tmp_path / "w.pth", module.state_dict(), zipped))
    assert list(arrays) == list(module.state_dict())
    np.testing.assert_array_equal(arrays["0.weight"], module[0].weight.detach().numpy())


@both_formats
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_any_pickle_protocol_of_torch_reads(tmp_path, zipped, protocol):
    torch.save(
        {"w": torch.ones(3)}, tmp_path / "w.pth", pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    np.testing.assert_array_equal(read_tensors(tmp_path / "w.pth")["w"], np.ones(3, np.float32))


def test_a_tensor_with_attributes_reads_as_a_tensor(tmp_path):
    tensor = torch.nn.Parameter(torch.ones(2))
    tensor.note = "anything"
    np.testing.assert_array_equal(read_tensors(save(tmp_path / "w.pth", {"w": tensor}))["w"], [1, 1])


def test_a_whole_training_checkpoint_gives_its_weights(tmp_path):
    """With optimiser, scheduler, argparse and NumPy values beside them, as training scripts save."""
    from argparse import Namespace
    from pathlib import PurePosixPath

    module = torch.nn.Linear(2, 3)
    optimiser = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1, 2])
    checkpoint = {
        "epoch": 3, "model": module.state_dict(), "optimizer": optimiser.state_dict(),
        "lr_scheduler": scheduler.state_dict(), "args": Namespace(lr=0.1, out=PurePosixPath("/x"), dev={1}),
        "best": np.float64(0.5), "history": np.arange(3), "best_prec1": torch.tensor(0.9),
        "size": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu"),
    }  # fmt: skip
    arrays = read_tensors(save(tmp_path / "w.pth", checkpoint))
    assert list(arrays)[:2] == ["model.weight", "model.bias"]
    assert all(name.startswith(("model.", "optimizer.state.", "best_prec1", "history")) for name in arrays)


@both_formats
def test_every_tensor_of_a_checkpoint_has_a_dotted_name_and_the_rest_are_facts(tmp_path, zipped):
    conv = torch.ones(2, 3)
    checkpoint = {
        "epoch": 3, "note": "x" * 300, "ema_state_dict": None, "losses": [0.5] * 100,
        "state_dict": {"module.conv1.weight": conv.half(), "module.fc.bias": torch.zeros(2)},
        "optimizer": {"state": {0: {"momentum_buffer": conv}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }  # fmt: skip
    with open_weights(save(tmp_path / "w.ckpt", checkpoint, zipped)) as reader:
        assert reader.shapes == {
            "state_dict.module.conv1.weight": (2, 3), "state_dict.module.fc.bias": (2,),
            "optimizer.state.0.momentum_buffer": (2, 3),
        }  # fmt: skip
        assert list(reader.dtypes.values()) == ["float16", "float32", "float32"]
        assert reader.read("state_dict.module.conv1.weight").dtype == np.float32
        assert reader.ordered
        assert reader.sha256 == sha256_of(tmp_path / "w.ckpt")
        losses = {f"losses.{index}": 0.5 for index in range(32)}
        assert reader.facts == losses | {
            "epoch": 3, "note": "x" * 200, "ema_state_dict": None, "optimizer.param_groups.0.lr": 0.1,
            "optimizer.param_groups.0.params.0": 0,
        }  # fmt: skip


def test_a_file_written_without_checksums_reads(tmp_path):
    """As torch writes with set_crc32_options(False)."""
    path = save(tmp_path / "w.pth", {"w": torch.arange(3.0)})
    data = bytearray(path.read_bytes())
    for entry in zipfile.ZipFile(path).infolist():
        checksum = entry.CRC.to_bytes(4, "little")
        for _ in range(data.count(checksum)):
            at = data.index(checksum)
            data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_tensors(path)["w"], [0, 1, 2])


def test_a_big_endian_archive_reads(tmp_path):
    """As torch writes on s390x: a record says "big" and the numbers are in that order."""
    written = io.BytesIO()
    torch.save({"w": torch.arange(3.0), "h": torch.arange(3.0).bfloat16()}, written)
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(tmp_path / "w.pth", "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("byteorder"):
                data = b"big"
            elif entry.filename.endswith("data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            elif entry.filename.endswith("data/1"):
                data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
            new.writestr(entry.filename, data)
    arrays = read_tensors(tmp_path / "w.pth")
    np.testing.assert_array_equal(arrays["w"], [0, 1, 2])
    np.testing.assert_array_equal(arrays["h"], [0, 1, 2])


class Block(torch.nn.Module):
    """A network of a training repository, pickled as it is."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(4, eps=0.001)
        self.act = torch.nn.LeakyReLU(0.1)
        self.absent = None
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("cache", torch.zeros(3), persistent=False)
        self.register_parameter("offset", None)


@both_formats
def test_a_pickled_model_has_the_tensors_of_its_state_dict_and_facts(tmp_path, zipped):
    model = torch.nn.DataParallel(Block())
    model.module.bn1.running_mean += 5
    with open_weights(save(tmp_path / "w.pth", {"net": model, "epoch": 3}, zipped)) as reader:
        assert list(reader.shapes) == [f"net.{name}" for name in model.state_dict()]
        np.testing.assert_array_equal(reader.read("net.module.bn1.running_mean"), [5, 5, 5, 5])
        facts = {
            "epoch": 3, "net.__class__": "torch.nn.parallel.data_parallel.DataParallel",
            "net.module.__class__": f"{__name__}.Block", "net.module.bn1.eps": 0.001,
            "net.module.act.__class__": "torch.nn.modules.activation.LeakyReLU",
            "net.module.act.negative_slope": 0.1, "net.module.conv1.stride.0": 2, "net.module.absent": None,
        }  # fmt: skip
        assert facts.items() <= reader.facts.items()
        assert not any("hook" in name for name in reader.facts)


class Settings(dict):
    """As Lightning's AttributeDict."""


def test_tensors_and_facts_in_objects_are_found(tmp_path):
    """As trainers save themselves: attributes of objects, dict subclasses, arrays, optimizers, arguments."""
    from argparse import Namespace
    from functools import partial

    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(pow, 0.5))
    checkpoint = {
        "trainer": Namespace(ema=Settings(weight=torch.ones(2)), epoch=3), "numpy": {"bias": np.ones(2)},
        "optimizer": optimizer, "schedule": schedule.state_dict(), "loss": torch.nn.CrossEntropyLoss(),
        "best": np.float32(0.5), "act": torch.nn.functional.relu, "names": np.array(["oak"]), Settings: {"a": 1},
        "block": partial(torch.nn.BatchNorm2d, eps=0.01),
    }  # fmt: skip
    with open_weights(save(tmp_path / "w.ckpt", checkpoint)) as reader:
        np.testing.assert_array_equal(reader.read("trainer.ema.weight"), [1, 1])
        np.testing.assert_array_equal(reader.read("numpy.bias"), [1, 1])
        assert reader.read("numpy.bias").dtype == np.float32
        assert reader.dtypes["numpy.bias"] == "float64"
        assert sum(name.endswith("momentum_buffer") for name in reader.shapes) == 2
        facts = {
            "trainer.__class__": "argparse.Namespace", "trainer.epoch": 3, "best": 0.5,
            "trainer.ema.__class__": f"{__name__}.Settings", "act": "torch.nn.functional.relu",
            f"{__name__}.Settings.a": 1, "block.eps": 0.01, "loss.reduction": "mean",
        }  # fmt: skip
        assert facts.items() <= reader.facts.items()


def test_nesting_and_sharing_without_end_are_refused(monkeypatch):
    monkeypatch.setattr("wideresnet.weights.flatten.MAX_NAMES", 100_000)
    nested: object = 1
    shared: object = 1
    for _ in range(100_000):
        nested, shared = [nested], [shared, shared]
    for value in (nested, shared):
        with pytest.raises(WeightsError, match="too deeply, or too many"):
            flatten(value)


def test_long_lists_leave_room_for_what_comes_after_them_and_what_is_cut_is_counted(monkeypatch):
    files = [f"{index}.jpg" for index in range(26_000)]
    images = [(name, index) for index, name in enumerate(files)]
    names = dict.fromkeys(files, 1)
    _, facts, cut = flatten({"files": files, "images": images, "sizes": names, "losses": [0.5] * 99, "class": "oak"})
    assert (facts["class"], facts["files.24999"], facts["images.999.1"]) == ("oak", "24999.jpg", 999)
    assert cut == 1000 + 25_000 + 1000
    monkeypatch.setattr("wideresnet.weights.flatten.MAX_FACTS", 100)
    assert flatten({"epoch": 3, "files": files[:101]})[2] == 2
    with pytest.raises(WeightsError, match="over 100 values beside its tensors, so that objects cannot be looked at"):
        flatten({"files": files[:100], "model": Opaque("torch.nn.modules.activation.SiLU", [{"_modules": {}}])})


def test_a_value_inside_itself_is_entered_once():
    loop: dict[str, object] = {"epoch": 3}
    loop["again"] = [loop]
    assert flatten(loop) == ({}, {"epoch": 3}, 0)


def test_two_tensors_of_one_name_are_refused(tmp_path):
    value = {"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"two tensors called 'a\.b'"), open_weights(save(tmp_path / "w.pth", value)):
        pass


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_arrays_is_read_and_one_of_tensors_is_refused_with_the_way_out(tmp_path, protocol):
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"model": {"w": np.arange(3.0), "n": np.int64(3)}}, protocol))
    with open_weights(path) as reader:
        np.testing.assert_array_equal(reader.read("model.w"), [0, 1, 2])
        assert reader.facts == {"model.n": 3}
    path.write_bytes(pickle.dumps({"w": torch.ones(1)}, protocol))
    with pytest.raises(WeightsError, match=r"pickle\.dump") as caught, open_weights(path):
        pass
    assert "torch.save" in caught.value.hint


@needs_shared("oracle", "wild")
def test_the_files_of_public_repositories_give_all_their_tensors():
    for folder in sorted((SHARED / "oracle" / "wild").glob("*/expected.json")):
        with open_weights(folder.with_name("weights.pth")) as reader:
            assert all(reader.read(name).shape == shape for name, shape in reader.shapes.items()), folder.parent.name


def test_a_torchscript_program_is_refused_as_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"w/{name}", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize("value", [torch.ones(2), [], {"epoch": 3}, 5])
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, value):
    with pytest.raises(WeightsError, match=r"it holds|no state dict"):
        read_tensors(save(tmp_path / "w.pth", value))


def rewritten(path: Path, change) -> Path:
    """The archive at ``path`` with its structure changed."""
    with zipfile.ZipFile(path) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in entries.items():
            new.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    path = save(tmp_path / "w.pth", {"w": torch.arange(200.0).reshape(100, 2)})
    with pytest.raises(WeightsError, match="beyond its storage"):
        read_tensors(rewritten(path, lambda data: data.replace(b"K\x64K\x02\x86", b"K\x65K\x02\x86")))


def test_tensors_far_larger_than_their_file_are_refused(tmp_path):
    path = save(tmp_path / "w.pth", {"w": torch.ones(1).expand(1 << 28)})
    with pytest.raises(WeightsError, match="far larger than the file"):
        read_tensors(path)


def test_a_compressed_entry_is_refused(tmp_path):
    written = io.BytesIO()
    torch.save({"w": torch.zeros(1000)}, written)
    with zipfile.ZipFile(written) as old, zipfile.ZipFile(
        tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED
    ) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(WeightsError, match="compressed"):
        read_tensors(tmp_path / "w.pth")


@both_formats
def test_a_cut_or_changed_file_never_gives_anything_but_a_weights_error(tmp_path, zipped):
    """200 random cuts and changes of bytes: read, or refused with a sentence."""
    whole = save(tmp_path / "w.pth", {"w": torch.arange(6.0), "n": torch.tensor(3)}, zipped).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        if rng.random() < 0.3:
            del data[int(rng.integers(1, len(data))) :]
        for _ in range(int(rng.integers(0, 4))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        (tmp_path / "cut.pth").write_bytes(data)
        try:
            read_tensors(tmp_path / "cut.pth")
        except WeightsError:
            refused += 1
    assert refused > 50
