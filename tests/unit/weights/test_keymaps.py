from __future__ import annotations

import json

import numpy as np
import pytest

from shared import SHARED
from wideresnet.architectures import ARCHITECTURES, Architecture, get_architecture, wide_resnet
from wideresnet.errors import WeightsError
from wideresnet.weights.guess import guess_architecture
from wideresnet.weights.keymaps import fit_tensors
from wideresnet.weights.read import read_tensors, save_tensors
from wideresnet.weights.schemes import rename

WRN = get_architecture("wrn_16_1")
WIDE = get_architecture("wrn_16_2", classes=7)


def filled(architecture: Architecture) -> dict[str, np.ndarray]:
    """Numbers that differ from tensor to tensor, so that a swap shows."""
    return {
        key: np.array(3, np.int64) if shape == () else np.full(shape, index, np.float32)
        for index, (key, shape) in enumerate(architecture.tensors().items())
    }


def shapes_only(architecture: Architecture) -> dict[str, np.ndarray]:
    """Arrays of the right shapes that take no memory, even those of wide_resnet101_2."""
    zero = np.zeros((), np.float32)
    return {key: np.broadcast_to(zero, shape) for key, shape in architecture.tensors().items()}


def xternalz(key: str) -> str:
    """Our key as xternalz/WideResNet-pytorch calls it: written against its module tree."""
    stage, _, rest = key.partition(".")
    if stage.startswith("layer"):
        return f"block{stage[-1]}.layer.{rest.replace('shortcut', 'convShortcut')}"
    return key.replace("bn.", "bn1.")


def szagoruyko(key: str) -> str:
    """Our key as the paper's functional PyTorch port calls it."""
    if not key.startswith("layer"):
        return key.replace("conv1.weight", "conv0")
    stage, block, layer, kind = key.split(".")
    names = {"conv1": "conv0", "conv2": "conv1", "bn1": "bn0", "bn2": "bn1", "shortcut": "convdim"}
    ending = "" if layer.startswith(("conv", "shortcut")) else f".{kind}"
    return f"group{int(stage[-1]) - 1}.block{block}.{names[layer]}{ending}"


def hysts(key: str) -> str:
    """Our key as hysts/pytorch_wrn calls it."""
    if not key.startswith("layer"):
        return key.replace("conv1.", "conv.")
    stage, block, rest = key.split(".", 2)
    return f"stage{stage[-1]}.block{int(block) + 1}.{rest.replace('shortcut', 'shortcut.conv')}"


@pytest.mark.parametrize("scheme", [xternalz, szagoruyko, hysts])
@pytest.mark.parametrize("architecture", [WRN, WIDE], ids=["16-1", "16-2"])
def test_foreign_names_map_to_ours_tensor_by_tensor(scheme, architecture):
    ours = filled(architecture)
    theirs = {scheme(key): array for key, array in reversed(ours.items())}
    assert len(theirs) == len(ours)
    assert set(theirs) != set(ours)
    fitted = fit_tensors(theirs, architecture)
    assert list(fitted) == list(architecture.tensors())
    for key, array in ours.items():
        np.testing.assert_array_equal(fitted[key], array, err_msg=key)


def test_names_as_the_authors_of_the_three_repositories_write_them():
    """Literal keys, independent of the functions above."""
    assert list(rename({"block2.layer.0.convShortcut.weight": 0, "bn1.running_var": 0, "fc.bias": 0})) == [
        "layer2.0.shortcut.weight", "bn.running_var", "fc.bias",
    ]  # fmt: skip
    theirs = ["conv0", "group0.block1.conv0", "group2.block0.convdim", "group1.block0.bn1.running_mean"]
    assert list(rename(dict.fromkeys(theirs))) == [
        "conv1.weight", "layer1.1.conv1.weight", "layer3.0.shortcut.weight", "layer2.0.bn2.running_mean",
    ]  # fmt: skip
    theirs = ["conv.weight", "stage3.block2.bn2.bias", "stage1.block1.shortcut.conv.weight"]
    assert list(rename(dict.fromkeys(theirs))) == [
        "conv1.weight", "layer3.1.bn2.bias", "layer1.0.shortcut.weight",
    ]  # fmt: skip


def test_our_own_names_stay():
    for name in ("wide_resnet50_2", "wrn_imagenet_18_2", "wrn_28_10"):
        keys = get_architecture(name).tensors()
        assert list(rename(keys)) == list(keys)


def test_missing_counters_become_zero_and_float_types_float32():
    def counter(key: str) -> bool:
        return key.endswith("num_batches_tracked")

    tensors = {key: array.astype(np.float64) for key, array in filled(WRN).items() if not counter(key)}
    fitted = fit_tensors(tensors, WRN)
    counters = [array for key, array in fitted.items() if counter(key)]
    assert counters
    assert all(c.shape == () and c.dtype == np.int64 and c == 0 for c in counters)
    assert fitted["fc.weight"].dtype == np.float32


@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_recognised_from_its_shapes(name, classes):
    architecture = get_architecture(name, classes=classes)
    assert guess_architecture(shapes_only(architecture)) == architecture


def test_an_unnamed_wrn_and_foreign_names_are_recognised():
    assert guess_architecture(shapes_only(get_architecture("wrn_46_3"))) == get_architecture("wrn_46_3")
    theirs = {xternalz(key): array for key, array in shapes_only(WIDE).items()}
    assert guess_architecture(theirs) == WIDE


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": np.ones(2)},
        {"layer1.0.conv1.weight": np.ones(())},
        {"layer1.0.conv1.weight": np.ones(7), "fc.weight": np.ones((0, 4))},
        shapes_only(wide_resnet(50, widen=1)),     # plain ResNet-50: not of this family
        {**shapes_only(WRN), "extra": np.ones(1)},
    ],
)
def test_what_fits_nothing_is_not_guessed(tensors):
    assert guess_architecture(tensors) is None


def refusal(tensors: dict[str, np.ndarray], name: str, classes: int | None = None) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fit_tensors(tensors, get_architecture(name, classes=classes))
    return caught.value


def test_another_number_of_classes_is_named_as_the_fix():
    error = refusal(shapes_only(WIDE), "wrn_16_2")
    assert error.hint == "they fit wrn_16_2 with 7 classes: give the file itself as the model"
    assert "fc.weight is [7, 128] instead of [10, 128]" in error.message


def test_another_architecture_is_named_as_the_fix():
    error = refusal(shapes_only(get_architecture("wide_resnet101_2")), "wide_resnet50_2")
    assert "wide_resnet101_2" in error.hint
    assert "306 unexpected" in error.message
    error = refusal(shapes_only(WIDE), "wide_resnet50_2")
    assert error.hint == "they fit wrn_16_2 with 7 classes"


def test_features_without_a_classifier_say_so():
    tensors = {key: array for key, array in shapes_only(WRN).items() if not key.startswith("fc.")}
    error = refusal(tensors, "wrn_16_1", classes=12)
    assert "2 missing (fc.weight, fc.bias)" in error.message
    assert "no classifier" in error.hint


def test_keys_of_something_else_are_shown():
    error = refusal({f"encoder.{n}.weight": np.ones(1, np.float32) for n in range(9)}, "wrn_16_1")
    assert "9 unexpected (encoder.0.weight, encoder.1.weight, encoder.2.weight, …)" in error.message
    assert "missing (conv1.weight, " in error.message
    assert "no architecture here fits" in error.hint


def test_an_unexpected_key_is_never_dropped_silently():
    error = refusal({**filled(WRN), "layer9.bias": np.ones(1, np.float32)}, "wrn_16_1")
    assert "1 unexpected (layer9.bias)" in error.message


@pytest.mark.parametrize("name", ["wide_resnet50_2", "wide_resnet101_2"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_keys_and_shapes_of_both_libraries_fit_in_their_order(library, name):
    listing = SHARED / "oracle" / "state_dict_keys.json"
    if not listing.exists():
        pytest.skip(f"{listing} is not here")
    theirs = json.loads(listing.read_text())[f"{library}/{name}"]
    zero = np.zeros((), np.float32)
    tensors = {key: np.broadcast_to(zero, shape) for key, shape in theirs.items()}
    assert list(fit_tensors(tensors, get_architecture(name))) == list(theirs)
    assert guess_architecture(tensors) == get_architecture(name)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_of_a_narrow_bottleneck_network_reads_and_fits_in_order(tmp_path, kind):
    """wide_resnet50_2's keys with a sixteenth of its channels: 275 MB would be too slow here."""
    torch = pytest.importorskip("torch")
    architecture = Architecture(
        "narrow", "imagenet", "bottleneck", 50, 2, (3, 4, 6, 3),
        stem=4, inner=8, out=16, classes=9, input_size=224,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    tensors = {
        key: np.array(1, np.int64) if shape == () else np.abs(rng.standard_normal(shape)).astype(np.float32)
        for key, shape in architecture.tensors().items()
    }
    path = tmp_path / "w"
    if kind == "safetensors":
        save_tensors(path, tensors, {})
    else:
        state = {f"module.{key}": torch.from_numpy(array) for key, array in tensors.items()}
        torch.save({"model": state}, path, _use_new_zipfile_serialization=kind == "zip")
    fitted = fit_tensors(read_tensors(path).tensors, architecture)
    assert list(fitted) == list(get_architecture("wide_resnet50_2").tensors())
    for key, array in tensors.items():
        np.testing.assert_array_equal(fitted[key], array)
