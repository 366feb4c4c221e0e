"""Options that say something of a model: with every kind of model each takes effect or is refused with the reason."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import wideresnet
from commands import Done, Wrn
from fakes import tiny_bundle, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.bundle import read_bundle, write_bundle
from wideresnet.errors import BundleError, ConfigError, WeightsError
from wideresnet.records import Labels, Preprocess
from wideresnet.tasks.load import load as loading
from wideresnet.weights.catalogue import CATALOGUE
from wideresnet.weights.read import save_tensors

torch = pytest.importorskip("torch")

TINY = get_architecture("wrn_10_1")
EMBEDDED = "wrn_16_4.cifar10"
PUBLISHED = "wrn_10_1.test"
# The options, and what each does to the kinds of models; "" is no option -m.
WEIGHTS, MISSING, SAME, OTHER, NAMES, FEW = "weights", "missing weights", "same", "other", "names", "few names"
EFFECT: dict[str, dict[str, str]] = {
    EMBEDDED: {
        WEIGHTS: "error: --weights other.safetensors has no effect on wrn_16_4.cifar10: it is a bundle",
        MISSING: "error: --weights missing.pth has no effect on wrn_16_4.cifar10: it is a bundle",
        SAME: "error: wrn_16_4.cifar10 is wrn_16_4, not WRN-10-1", OTHER: "error: wrn_16_4.cifar10 is wrn_16_4",
    },
    "bundle": {
        WEIGHTS: "error: --weights other.safetensors has no effect on bundle: it is a bundle",
        MISSING: "error: --weights missing.pth has no effect on bundle: it is a bundle",
        SAME: "unchanged", OTHER: "error: bundle is wrn_10_1, not wrn_16_2",
    },
    "file.pth": {
        WEIGHTS: "error: --weights other.safetensors has no effect on file.pth: it is a weights file itself",
        MISSING: "error: --weights missing.pth has no effect on file.pth: it is a weights file itself",
        SAME: "unchanged", OTHER: "error: file.pth holds wrn_10_1 with 10 classes, not wrn_16_2",
    },
    "file.onnx": {
        WEIGHTS: "error: --weights other.safetensors has no effect on file.onnx: it is a weights file itself",
        MISSING: "error: --weights missing.pth has no effect on file.onnx: it is a weights file itself",
        SAME: "unchanged", OTHER: "error: file.onnx: no graph of this family",
    },
    PUBLISHED: {
        WEIGHTS: "other tensors", MISSING: "error: cannot read missing.pth: No such file",
        SAME: "unchanged", OTHER: "error: wrn_10_1.test is wrn_10_1, not wrn_16_2",
    },
    "wrn_10_1": {
        WEIGHTS: "other tensors", MISSING: "error: cannot read missing.pth: No such file",
        SAME: "error: wrn_10_1 is an architecture without published weights",
        OTHER: "error: wrn_10_1 is an architecture without published weights",
        NAMES: "error: wrn_10_1 is an architecture without published weights",
        FEW: "error: wrn_10_1 is an architecture without published weights",
    },
    "": {
        WEIGHTS: "other tensors", MISSING: "error: cannot read the weights file missing.pth: no such file",
        SAME: "error: wrn_16_4.cifar10 is wrn_16_4, not WRN-10-1", OTHER: "error: wrn_16_4.cifar10 is wrn_16_4",
    },
}  # fmt: skip
EVERYWHERE = {NAMES: "other labels", FEW: "error: few.txt has 3 labels for 10 classes"}
OPTIONS = {
    WEIGHTS: ("--weights", "other.safetensors"), MISSING: ("--weights", "missing.pth"),
    SAME: ("--architecture", "WRN-10-1"), OTHER: ("--architecture", "wrn_16_2"),
    NAMES: ("--labels", "names.txt"), FEW: ("--labels", "few.txt"),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported() -> bytes:
    """wrn_10_1 as torch exports it."""
    from wideresnet.models import create_model

    model = create_model(TINY).eval()
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in tiny_tensors(TINY).items()})
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, torch.zeros(1, 3, 32, 32), file, dynamo=False)
    return file.getvalue()


@pytest.fixture
def here(wrn: Wrn, tmp_path: Path, exported: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of every kind, all with the same tensors, in the working folder; and what the options name."""
    write_bundle(tmp_path / "bundle", tiny_bundle())
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in tiny_tensors(TINY).items()}
    torch.save({"state_dict": tensors}, tmp_path / "file.pth")
    (tmp_path / "file.onnx").write_bytes(exported)
    save_tensors(tmp_path / "other.safetensors", tiny_tensors(TINY, seed=1), {})
    (tmp_path / "names.txt").write_text("".join(f"name {k}\n" for k in range(10)))
    (tmp_path / "few.txt").write_text("ant\nbee\nfly\n")
    torch.save(tensors, tmp_path / "published.pth")
    data = (tmp_path / "published.pth").read_bytes()
    row = replace(
        next(iter(CATALOGUE.values())), name=PUBLISHED, architecture="wrn_10_1", labels="cifar10",
        sha256_prefix=hashlib.sha256(data).hexdigest()[:8], preprocess=Preprocess(resize=36, crop=32),
    )  # fmt: skip
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / row.file_name).write_bytes(data)
    monkeypatch.setitem(CATALOGUE, PUBLISHED, row)
    Image.new("RGB", (32, 32), "red").save(tmp_path / "image.png")
    return tmp_path


def export(wrn: Wrn, model: str, *options: str) -> Done:
    return wrn("export", *(("-m", model) if model else ()), *options, "-o", "out", "--format", "json")


@pytest.mark.parametrize(
    ("model", "option", "effect"),
    [(model, option, (EVERYWHERE | effects)[option]) for model, effects in EFFECT.items() for option in OPTIONS],
)
def test_every_option_takes_effect_or_is_refused(wrn: Wrn, here: Path, model: str, option: str, effect: str) -> None:
    done = export(wrn, model, *OPTIONS[option])
    if effect.startswith("error: "):
        assert done.code == 2
        assert effect in done.err
        assert "hint:  " in done.err
        assert not (here / "out").exists()
        return
    assert done.code == 0
    bundle, before = read_bundle(here / "out"), tiny_bundle()
    assert (bundle.labels.names[3] == "name 3") == (effect == "other labels")
    assert bundle.card.labels_name == ("" if effect == "other labels" else "cifar10")
    weights = {c.name: c.raw_data for c in onnx.ModelProto.FromString(bundle.graph).graph.initializer}
    known = {c.name: c.raw_data for c in onnx.ModelProto.FromString(before.graph).graph.initializer}
    if model not in ("", EMBEDDED):
        assert (weights["conv1.weight"] != known["conv1.weight"]) == (effect == "other tensors")


@pytest.mark.parametrize(
    "command",
    [
        ("classify", "image.png"), ("evaluate", "missing"), ("explain", "image.png", "-o", "maps"),
        ("embed", "image.png", "-o", "x.npy"), ("compile", "-o", "out"), ("finetune", "--data", "missing", "-o", "run"),
    ],
)  # fmt: skip
def test_every_command_refuses_what_has_no_effect(wrn: Wrn, here: Path, command: tuple[str, ...]) -> None:
    """All of them open a model in the same way; the words are those of the table."""
    for option in (MISSING, OTHER):
        source = ("--from", EMBEDDED) if command[0] == "finetune" and option == OTHER else ()     # it has no default
        done = wrn(*command, *source, *OPTIONS[option])
        assert done.code == 2
        assert EFFECT[""][option] in done.err
    choice = "--from" if command[0] == "finetune" else "-m"
    assert EFFECT["bundle"][WEIGHTS] in wrn(*command, choice, "bundle", *OPTIONS[WEIGHTS]).err


def test_python_callers_get_the_same(here: Path) -> None:
    with pytest.raises(ConfigError, match="has no effect on bundle"):
        wideresnet.load("bundle", weights="other.safetensors")
    with pytest.raises(ConfigError, match="is wrn_16_4, not wrn_10_1"):
        wideresnet.load(architecture="wrn_10_1")
    with pytest.raises(WeightsError, match=r"missing\.pth: no such file"):
        wideresnet.load(weights="missing.pth")
    with pytest.warns(loading.AssumptionWarning, match="class names: those of cifar10"):
        alone = wideresnet.load(weights="file.pth")
    batch = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert not np.allclose(alone.logits(batch), wideresnet.load().logits(batch), atol=0.1)
    with pytest.warns(loading.AssumptionWarning, match="resize 32"):
        wideresnet.preprocess("image.png", "file.pth")
    assert wideresnet.load("bundle", labels="names.txt").labels.names[3] == "name 3"


@pytest.mark.parametrize(
    ("model", "storage", "precision"),
    [
        (EMBEDDED, "fp32", "fp32"), (EMBEDDED, "fp16", "fp16"), (EMBEDDED, "", "fp16"),
        ("file.pth", "fp16", "fp16"), ("file.onnx", "fp16", "fp16"), ("file.pth", "", "fp32"),
    ],
)  # fmt: skip
def test_storage_takes_effect_on_every_model(
    wrn: Wrn, here: Path, model: str, storage: str, precision: str
) -> None:
    done = export(wrn, model, *(("--storage", storage) if storage else ()))
    assert done.json["card"]["precision"] == precision
    bundle = read_bundle(here / "out")
    assert bundle.card.precision == precision
    if model != EMBEDDED:
        assert (len(bundle.graph) < 0.6 * len(tiny_bundle().graph)) == (precision == "fp16")


def test_float16_that_loses_the_weights_is_refused(wrn: Wrn, here: Path) -> None:
    """Weights below float16's range became 0, and the answers others."""
    tensors = tiny_tensors(TINY)
    tensors["fc.weight"] = tensors["fc.weight"] * np.float32(1e-8)
    tensors["bn.weight"], tensors["bn.bias"] = (tensors[f"bn.{key}"] * np.float32(1e8) for key in ("weight", "bias"))
    save_tensors(here / "under.safetensors", tensors, {})
    done = export(wrn, "under.safetensors", "--storage", "fp16")
    assert (done.code, "does not compute the model" in done.err) == (2, True)


def test_the_same_names_in_another_order_are_refused(wrn: Wrn, here: Path) -> None:
    names = tiny_bundle().labels.names
    Path("turned.txt").write_text("".join(f"{name}\n" for name in names[::-1]))
    for model in ("bundle", EMBEDDED):
        done = wrn("classify", "image.png", "-m", model, "--labels", "turned.txt")
        assert (done.code, "in another order" in done.err) == (2, True)
    tiny, ids = tiny_bundle(), tuple(f"n{k:08}" for k in range(10))
    write_bundle(Path("ids"), replace(tiny, card=replace(tiny.card, labels_name=""), labels=Labels(names, ids)))
    Path("ids.txt").write_text("".join(f"n{k:08} {names[k][:3]}\n" for k in reversed(range(10))))
    done = wrn("classify", "image.png", "-m", "ids", "--labels", "ids.txt")
    assert (done.code, "has other class ids than" in done.err) == (2, True)
    done = wrn("classify", "image.png", "-m", "file.pth", "--labels", "turned.txt")
    assert done.code == 0, "whose names were assumed"


def test_weights_that_no_network_computes_with_are_refused(wrn: Wrn, here: Path) -> None:
    """OpenVINO answered every image alike: integers without their scales, and numbers whose products overflow."""
    tensors = tiny_tensors(TINY)
    huge = {key: value * np.float32(1e30) if key.endswith("conv1.weight") else value for key, value in tensors.items()}
    rounded = {key: (value * 50).astype(np.int8) if value.ndim == 4 else value for key, value in tensors.items()}
    for broken, words in ((huge, "numbers above 1e15"), (rounded, "quantised without their scales")):
        save_tensors(here / "broken.safetensors", broken, {})
        done = wrn("classify", "image.png", "-m", "broken.safetensors")
        assert (done.code, words in done.err) == (2, True)


def test_the_moving_average_is_said(wrn: Wrn, here: Path) -> None:
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in tiny_tensors(TINY).items()}
    torch.save({"model": tensors, "model_ema": tensors}, here / "both.pth")
    done = wrn("classify", "image.png", "-m", "both.pth")
    assert "weights: the moving average, model_ema of the checkpoint" in done.err


def test_sizes_that_cannot_be_computed_are_refused(wrn: Wrn, here: Path) -> None:
    done = wrn("classify", "image.png", "--resolution", "100000")
    assert (done.code, "a crop has 1 to 4,096 pixels a side" in done.err) == (2, True)


def test_classes_take_effect_on_an_architecture_and_are_refused_elsewhere(wrn: Wrn, here: Path) -> None:
    assert wrn("info", "wide_resnet50_2", "--classes", "37", "--format", "json").json["classes"] == 37
    for model in ("bundle", "file.pth"):
        done = wrn("info", model, "--classes", "37")
        assert (done.code, "has 10 classes, not 37" in done.err) == (2, True)


# What is assumed


@pytest.mark.parametrize("model", ["file.pth", "file.onnx"])
def test_what_a_file_does_not_state_is_said_at_every_use(wrn: Wrn, here: Path, model: str) -> None:
    for command in (("classify", "image.png"), ("export", "-o", "out"), ("embed", "image.png", "-o", "x.npy")):
        err = wrn(*command, "-m", model).err
        (line,) = [line for line in err.splitlines() if line.startswith(f"assumed for {model}")]
        assert "preprocessing: resize 32, centre crop 32, mean 0.4914" in line
        assert "class names: those of cifar10" in line
    assert wrn("classify", "image.png", "-m", "out").err.startswith("assumed for out: ")
    assert len(wrn("info", model, "--format", "json").json["assumed"]) == (3 if model == "file.pth" else 2)
    assert "class names" not in wrn("classify", "image.png", "-m", model, "--labels", "names.txt").err
    assert wrn("classify", "image.png", "-m", "bundle").notes == ""


# Cards and graphs


def edit(change: Callable[[dict[str, object]], object], folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda card: card["preprocess"].update(mean=[0.4, 0.4, 0.4]), "mean is 0.4 0.4 0.4 on the card"),
        (lambda card: card["preprocess"].update(std=[0.5, 0.5, 0.5]), "std is 0.5 0.5 0.5 on the card"),
        (lambda card: card["preprocess"].update(crop=64), "crop is 64 on the card, 32 in the graph"),
        (lambda card: card.update(classes=100), "classes is 100 on the card, 10 in the graph"),
        (lambda card: card.update(precision="int8"), "precision is int8 on the card, fp32 in the graph"),
        (lambda card: card.update(architecture="wrn_16_2"), "architecture is wrn_16_2 on the card"),
        (lambda card: card.update(labels_name="svhn"), "labels.txt is not the list 'svhn'"),
        (lambda card: card["preprocess"].update(std=[0, 0.2, 0.2]), "standard deviation above 0"),
        (lambda card: card["preprocess"].update(mean=[float("nan"), 0.5, 0.5]), "a mean is from 0 to 1"),
    ],
)
def test_a_card_that_contradicts_its_graph_is_refused(
    wrn: Wrn, here: Path, change: Callable[[dict[str, object]], object], words: str
) -> None:
    edit(change, here / "bundle")
    for command in (("classify", "image.png", "-m", "bundle"), ("info", "bundle")):
        done = wrn(*command)
        assert done.code == 2
        assert words in done.err


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("key", ["conv1.weight", "fc.bias", "bn.running_var", "layer2.0.bn1.weight"])
def test_weights_that_are_no_numbers_are_refused(wrn: Wrn, here: Path, key: str, value: float) -> None:
    tensors = tiny_tensors(TINY)
    tensors[key] = tensors[key].copy()
    tensors[key].flat[0] = value
    save_tensors(here / "broken.safetensors", tensors, {})
    done = wrn("classify", "image.png", "-m", "broken.safetensors")
    assert done.code == 2
    assert f"{key} has NaN or infinity" in done.err


def test_a_bundle_with_weights_that_are_no_numbers_is_refused(here: Path) -> None:
    """Its hashes fit: it was written so, by another program."""
    graph = onnx.ModelProto.FromString(tiny_bundle().graph)
    (bias,) = [constant for constant in graph.graph.initializer if constant.name == "fc.bias"]
    bias.raw_data = np.full(10, np.nan, np.float32).tobytes()
    write_bundle(here / "broken", replace(tiny_bundle(), graph=graph.SerializeToString()))
    for engine in ("openvino", "onnxruntime", "pytorch"):
        with pytest.raises(BundleError, match=r"fc\.bias in the graph holds NaN or infinity"):
            wideresnet.load("broken", engine=engine)
