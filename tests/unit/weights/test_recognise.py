"""Networks found by structure: whatever the layers are called, in whatever order, beside whatever else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from shared import SHARED
from wideresnet.architectures import ARCHITECTURES, Architecture, get_architecture, wide_resnet
from wideresnet.errors import WeightsError
from wideresnet.weights.read import open_weights, save_tensors
from wideresnet.weights.recognise import Recognised, recognise

WRN = get_architecture("wrn_16_1")
WIDE = get_architecture("wrn_16_2", classes=7)
BASIC = get_architecture("wrn_imagenet_18_1", classes=6)
Tensors = dict[str, np.ndarray]


class Memory:
    """A file that was never written."""

    def __init__(self, tensors: Mapping[str, np.ndarray], *, ordered: bool = True, **facts: Any) -> None:
        self.tensors, self.ordered, self.facts = tensors, ordered, facts
        self.shapes = {name: array.shape for name, array in tensors.items()}
        self.dtypes = {name: str(array.dtype) for name, array in tensors.items()}

    def read(self, name: str) -> np.ndarray:
        array = self.tensors[name]
        return array.astype(np.float32) if array.dtype.kind == "f" else array


def found(tensors: Mapping[str, np.ndarray], *, ordered: bool = True, **options: Any) -> Recognised:
    return recognise(Memory(tensors, ordered=ordered), **options)         # type: ignore[arg-type]


def refusal(tensors: Mapping[str, np.ndarray], **options: Any) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        found(tensors, **options)
    return caught.value


def filled(architecture: Architecture) -> Tensors:
    """Numbers that differ from tensor to tensor, so that a swap shows."""
    return {
        key: np.array(3, np.int64) if shape == () else np.full(shape, index + 1, np.float32)
        for index, (key, shape) in enumerate(architecture.tensors().items())
    }


def zeros(architecture: Architecture) -> Tensors:
    """Arrays of the right shapes that take no memory, even those of wide_resnet101_2."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in architecture.tensors().items()}


def renamed(tensors: Tensors, *pairs: tuple[str, str]) -> Tensors:
    """Tensors with the beginnings of their names replaced."""
    def name(key: str) -> str:
        return next((new + key.removeprefix(old) for old, new in pairs if key.startswith(old)), key)

    return {name(key): array for key, array in tensors.items()}


def assert_same(network: Recognised, tensors: Tensors) -> None:
    assert list(network.tensors) == list(network.architecture.tensors())
    for key, array in tensors.items():
        np.testing.assert_array_equal(network.tensors[key], array, err_msg=key)


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


def letters(key: str) -> str:
    """Names without a number: stages and blocks by letters, layers by words."""
    stage, block, *rest = key.split(".")
    if not stage.startswith("layer"):
        return key
    words = {"bn1": "a_norm", "conv1": "b_first", "bn2": "c_norm", "conv2": "d_second", "shortcut": "skip"}
    return ".".join([f"stage_{'abc'[int(stage[-1]) - 1]}", f"block_{'pqrs'[int(block)]}", words[rest[0]], *rest[1:]])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("scheme", [xternalz, szagoruyko, hysts])
@pytest.mark.parametrize("architecture", [WRN, WIDE], ids=["16-1", "16-2"])
def test_foreign_names_map_to_ours_tensor_by_tensor(
    scheme: Callable[[str], str], architecture: Architecture, backwards: bool
) -> None:
    ours = filled(architecture)
    items = list(ours.items())[:: -1 if backwards else 1]
    theirs = {scheme(key): array for key, array in items}
    assert set(theirs) != set(ours)
    network = found(theirs)
    assert network.architecture == architecture
    assert_same(network, ours)


@pytest.mark.parametrize("ordered", [True, False])
def test_names_that_nobody_has_seen_are_read_by_shape_and_order(ordered: bool) -> None:
    ours = filled(WIDE)
    theirs = {letters(key): array for key, array in ours.items()}
    network = recognise(Memory(theirs, ordered=ordered))       # type: ignore[arg-type]
    assert network.origin.scheme.title == "by structure"
    assert_same(network, ours)


@pytest.mark.parametrize(
    ("architecture", "pair"), [(WIDE, ("conv1", "conv2")), (WIDE, ("bn1", "bn2")), (BASIC, ("conv1", "conv2"))]
)
def test_names_mean_what_they_mean_where_shapes_leave_no_choice(
    architecture: Architecture, pair: tuple[str, ...]
) -> None:
    """Numbers that contradict the widening blocks are none of an order."""
    ours = filled(architecture)
    swap = dict(zip(pair, pair[::-1], strict=True))
    theirs = {
        ".".join([stage, *(swap.get(part, part) for part in rest)]): array
        for key, array in ours.items()
        for stage, *rest in [key.split(".")]
    }
    assert_same(found(theirs, ordered=False), ours)


@pytest.mark.parametrize("name", ["wrn_28_2", "wrn_imagenet_18_1", "wide_resnet14_2"])
def test_an_order_that_nothing_shows_is_refused(name: str) -> None:
    """In a file that sorts its names, words do not say which of two equal norms or blocks comes first."""
    words = {"bn1": "norm_z", "bn2": "norm_y", "bn3": "norm_x"}
    theirs = {
        letters(key) if name == "wrn_28_2" else ".".join(words.get(part, part) for part in key.split(".")): array
        for key, array in zeros(get_architecture(name)).items()
    }
    assert "neither shapes nor numbers in names show the order of" in refusal(theirs, ordered=False).message


def test_a_shortcut_that_comes_first_and_has_the_shape_of_conv3_stays_one() -> None:
    """As in the paper's export for ImageNet, with batch norms folded into convolutions."""
    architecture = get_architecture("wide_resnet14_2", 5)
    ours = {key: array for key, array in filled(architecture).items() if "bn" not in key and "downsample.1" not in key}
    biases = {key.replace("weight", "bias"): array[:, 0, 0, 0] for key, array in ours.items() if array.ndim == 4}
    names = {"downsample.0": "conv_dim", "conv1.": "conv0.", "conv2.": "conv1.", "conv3.": "conv2."}
    theirs = {}
    for key, array in sorted({**ours, **biases}.items(), key=lambda item: "downsample" not in item[0]):
        old = next((old for old in names if old in key), "fc")
        theirs[key.replace("layer", "group").replace(old, names.get(old, old))] = array
    network = found(theirs)
    assert_same(network, ours)
    np.testing.assert_array_equal(network.tensors["layer2.0.downsample.1.bias"], biases["layer2.0.downsample.0.bias"])


@pytest.mark.parametrize(
    "extra",
    [
        {"relu1.weight": (1,)}, {"conv1.alpha": (4, 32)}, {"conv1.lora_A": (4, 96)}, {"scale": ()}, {"bias1a": (1,)},
        {"norm.running_mean": (32,), "norm.running_var": (32,)}, {"conv1.gamma": (4, 32)},
    ],
    ids=lambda extra: next(iter(extra)),
)  # fmt: skip
@pytest.mark.parametrize("stage", [1, 2])
def test_what_a_block_has_beside_its_layers_is_never_left_out(stage: int, extra: dict[str, tuple[int, ...]]) -> None:
    names = {f"layer{stage}.1.{name}": np.ones(shape, np.float32) for name, shape in extra.items()}
    assert f"layer{stage}.1." in refusal({**filled(WIDE), **names}).message


@pytest.mark.parametrize(
    ("name", "shape"),
    [("fc.lora_A", (4, 128)), ("conv1.scale", (16,)), ("relu.weight", (1,)), ("norm0.running_var", (3,)),
     ("after.weight", (128,)), ("bn.gain", (128,))],
)  # fmt: skip
def test_what_may_change_a_layer_outside_of_blocks_is_never_left_out(name: str, shape: tuple[int, ...]) -> None:
    message = refusal({**filled(WIDE), name: np.ones(shape, np.float32)}).message
    assert name.rpartition(".")[0] in message
    assert "may" in message


@pytest.mark.parametrize(("architecture", "old", "new"), [
    (wide_resnet(14, 2), "downsample.0", "downsample.1"), (WRN, "shortcut", "shortcut.1"),
])  # fmt: skip
def test_a_pooling_before_a_shortcut_is_seen_in_its_number(architecture: Architecture, old: str, new: str) -> None:
    """ResNet-D and others pool there: a layer without tensors, of which only the next number tells."""
    def name(key: str, new: str) -> str:
        return key.replace("downsample.1", "downsample.2").replace(f".{old}.", f".{new}.")

    tensors = filled(architecture)
    error = refusal({name(key, new): array for key, array in tensors.items()})
    assert f"{new} is not the first of its sequence" in error.message
    if architecture is WRN:
        assert_same(found({name(key, "shortcut.0"): array for key, array in tensors.items()}), tensors)


def test_refused_blocks_do_not_leave_a_smaller_network() -> None:
    tensors = {key: array for key, array in filled(WRN).items() if ".1.bn2" not in key}
    refusal(tensors)
    refusal({**filled(WRN), **{f"layer{stage}.1.se.weight": np.ones((4, 4), np.float32) for stage in (1, 2, 3)}})


def test_a_projection_at_equal_widths_is_read_in_the_first_block_only() -> None:
    for block, readable in (("layer1.0", True), ("layer1.1", False)):
        tensors = {**filled(WRN), f"{block}.shortcut.weight": np.full((16, 16, 1, 1), 5, np.float32)}
        if readable:
            assert found(tensors).architecture.project_first
        else:
            assert "layer1.1.shortcut [16, 16, 1, 1] is one too many" in refusal(tensors).message


@pytest.mark.parametrize("name", ["fc", "linear", "head.fc"])
def test_a_classifier_of_other_features_is_no_missing_one(name: str) -> None:
    tensors = {key: array for key, array in filled(WRN).items() if not key.startswith("fc.")}
    for shape in ((10, 256), (10, 64, 1, 1)):
        message = refusal({**tensors, f"{name}.weight": np.ones(shape, np.float32)}).message
        assert f"{name} {list(shape)} is no classifier for 64 features" in message


def test_layers_between_backbone_and_head_are_never_left_out() -> None:
    ours = filled(WRN)
    theirs = {f"backbone.{key}" if not key.startswith("fc") else f"head.{key}": array for key, array in ours.items()}
    assert "neck.conv" in refusal({**theirs, "neck.conv.weight": np.ones((64, 64, 1, 1), np.float32)}).message
    members = {f"1.{key}": array for key, array in ours.items()}
    assert "0 would be left over" in refusal({"0.running_var": np.ones(3, np.float32), **members}).message


@pytest.mark.parametrize("ending", ["weight_orig", "weight_v", "parametrizations.weight.original0"])
@pytest.mark.parametrize("layer", ["conv1", "layer2.0.conv1", "fc"])
def test_weights_that_torch_computes_are_refused_by_name(layer: str, ending: str) -> None:
    tensors = renamed(filled(WRN), (f"{layer}.weight", f"{layer}.{ending}"))
    error = refusal(tensors)
    assert f"1 tensors ({layer}.{ending}) of weight norm, spectral norm or pruning" in error.message
    assert "remove_parametrizations" in error.hint


def test_the_axes_of_flax_are_named() -> None:
    theirs = {key.replace("weight", "kernel"): array.T for key, array in filled(WRN).items()}
    error = refusal({key: array.transpose(1, 0, 2, 3) if array.ndim == 4 else array for key, array in theirs.items()})
    assert "with the axes of TensorFlow and Flax" in error.message
    assert "(3, 2, 0, 1)" in error.hint


def test_our_own_names_stay() -> None:
    for name in ("wide_resnet50_2", "wrn_imagenet_18_2", "wrn_16_4"):
        network = found(zeros(get_architecture(name)))
        assert all(ours == theirs for ours, theirs in network.used.items())


@pytest.mark.parametrize(("shape", "count"), [((), 3), ((1,), 3), ((2,), 3), ((0,), 0)])
def test_a_counter_has_any_shape(shape: tuple[int, ...], count: int) -> None:
    counters = {name: np.full(shape, 3, np.int64) for name in filled(WRN) if name.endswith("num_batches_tracked")}
    result = found(filled(WRN) | counters)
    assert {result.tensors[name].item() for name in counters} == {count}


def test_missing_counters_become_zero_and_float_types_float32() -> None:
    tensors = {key: array.astype(np.float64) for key, array in filled(WRN).items() if "num_batches" not in key}
    network = found(tensors)
    counters = [array for key, array in network.tensors.items() if key.endswith("num_batches_tracked")]
    assert counters
    assert all(c.shape == () and c.dtype == np.int64 and c == 0 for c in counters)
    assert network.tensors["fc.weight"].dtype == np.float32


@pytest.mark.parametrize("classes", [None, 5])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "wrn_46_3", "wide_resnet50_4"])
def test_every_architecture_is_recognised_from_its_shapes(name: str, classes: int | None) -> None:
    architecture = get_architecture(name, classes=classes)
    assert found(zeros(architecture)).architecture == architecture


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "among 0 layers"),
        ({"a": np.ones(2)}, "among 0 layers"),
        ({"layer1.0.conv1.weight": np.ones(())}, "among 0 layers"),
        ({"layer1.0.conv1.weight": np.ones(7), "fc.weight": np.ones((0, 4))}, "among 1 layers (fc)"),
        (zeros(wide_resnet(50, widen=1)), "no architecture called 'wide_resnet50_1'"),
        ({f"encoder.{n}.weight": np.ones((8, 8)) for n in range(9)}, "9 layers (encoder.0, encoder.1, encoder.2, …)"),
    ],
)
def test_what_is_no_network_of_the_family_is_refused(tensors: Tensors, words: str) -> None:
    error = refusal(tensors)
    assert words in error.message
    assert error.hint == "'wrn models' lists the networks that are read"


@pytest.mark.parametrize("key", ["layer2.0.bn2.running_var", "layer2.0.conv2.weight", "layer3.1.bn1.weight"])
@pytest.mark.parametrize("scheme", [str, xternalz, hysts])
def test_what_is_missing_in_a_block_is_named(scheme: Callable[[str], str], key: str) -> None:
    theirs = {scheme(name): array for name, array in zeros(WRN).items() if name != key}
    error = refusal(theirs)
    assert scheme(key) in error.message
    assert "missing beside the other blocks" in error.message
    assert error.hint == "give the complete checkpoint"


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("conv1.", "no convolution that makes 16 channels of an image"),
        ("bn.", "no batch norm after the stem or before the pooling"),
        ("layer2.0.shortcut", "one 1×1 convolution where channels change: layer2.0.conv1 [32, 16, 3, 3], layer2.0"),
        ("layer3.1.", "stages of 2, 2, 1 blocks"),
        ("layer3.", "no complete Wide ResNet"),
    ],
)
def test_a_missing_part_is_named(lost: str, words: str) -> None:
    assert words in refusal({key: array for key, array in zeros(WRN).items() if not key.startswith(lost)}).message


@pytest.mark.parametrize("name", ["fc.0", "fc.1", "linear", "classifier", "head.fc", "last_linear", "head", "logits"])
@pytest.mark.parametrize("architecture", [WRN, BASIC], ids=["cifar", "imagenet"])
def test_a_classifier_is_known_under_any_name(architecture: Architecture, name: str) -> None:
    ours = filled(architecture)
    assert_same(found(renamed(ours, ("fc.", f"{name}."))), ours)


def test_two_layers_that_may_be_the_classifier_are_shown() -> None:
    extra = {"first.weight": np.ones((4, 64), np.float32), "second.weight": np.ones((3, 64), np.float32)}
    tensors = {key: array for key, array in filled(WRN).items() if not key.startswith("fc.")} | extra
    assert "first (4 outputs), second (3 outputs)" in refusal(tensors).message


def test_a_classifier_of_two_layers_is_refused() -> None:
    tensors = renamed(filled(WRN), ("fc.", "fc.2.")) | {"fc.0.weight": np.ones((10, 64), np.float32)}
    tensors["fc.2.weight"] = np.ones((10, 10), np.float32)
    assert "two linear layers make the classifier, fc.0 and fc.2" in refusal(tensors).message


def test_a_file_without_a_classifier_is_headless() -> None:
    network = found({key: array for key, array in filled(WRN).items() if not key.startswith("fc.")})
    assert network.headless
    assert not network.tensors["fc.weight"].any()


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "net.", "_orig_mod.module.", "module._orig_mod.model.", "backbone.", "timm_model.", "a.b.c.",
        "state_dict.", "model_state_dict.", "model.state_dict.",
    ],
)  # fmt: skip
def test_any_prefix_is_left_out_and_what_lies_beside_is_listed(prefix: str) -> None:
    ours = filled(WRN)
    theirs = {f"{prefix}{key}": array for key, array in ours.items()}
    beside = {"criterion.weight": np.ones(10, np.float32), "centers": np.ones((10, 2), np.float32)}
    beside |= {"n_averaged": np.array(3), "best_prec1": np.array(0.9, np.float32)}
    network = found(theirs | beside)
    assert_same(network, ours)
    assert set(network.ignored) == {"criterion", "centers", "n_averaged", "best_prec1"}


def test_a_head_beside_the_backbone_belongs_to_it() -> None:
    ours = filled(BASIC)
    theirs = {f"backbone.{key}" if not key.startswith("fc") else f"head.{key}": array for key, array in ours.items()}
    assert_same(found(theirs), ours)


def test_an_idle_stage_is_left_out_and_listed() -> None:
    ours = filled(WIDE)
    theirs = {xternalz(key): array for key, array in ours.items()}
    theirs |= {f"sub_{key}": array * 2 for key, array in theirs.items() if key.startswith("block1.")}
    network = found(theirs)
    assert_same(network, ours)
    assert set(network.ignored.values()) == {"of a block that the network does not call"}


@pytest.mark.parametrize("name", ["neck", "layer4", "layer1.0.extra", "layer1.0.se"])
def test_a_layer_that_may_belong_to_the_way_is_never_left_out(name: str) -> None:
    refusal({**filled(WRN), f"{name}.weight": np.ones((16, 16, 1, 1), np.float32)})


def test_convolutions_with_biases_keep_them_and_post_activation_ones_fold_them() -> None:
    biased = {**filled(WRN), "layer1.0.conv1.bias": np.arange(16, dtype=np.float32)}
    network = found(biased)
    assert network.architecture.conv_bias
    np.testing.assert_array_equal(network.tensors["layer1.0.conv1.bias"], np.arange(16))
    assert not network.tensors["conv1.bias"].any()
    ours = filled(BASIC)
    network = found({**ours, "layer1.0.conv1.bias": np.arange(64, dtype=np.float32)})
    mean = network.tensors["layer1.0.bn1.running_mean"]
    np.testing.assert_array_equal(mean, ours["layer1.0.bn1.running_mean"] - np.arange(64))


def test_running_statistics_kept_apart_are_joined() -> None:
    """As older files of the paper's functional port."""
    ours = filled(WRN)
    theirs = {f"{'stats' if 'running' in key else 'params'}.{szagoruyko(key)}": array for key, array in ours.items()}
    assert_same(found(theirs), ours)


@pytest.mark.parametrize(("live", "average"), [("model", "ema"), ("model", "ema.module"), ("net", "model_ema")])
def test_a_moving_average_is_known_under_any_name(live: str, average: str) -> None:
    tensors = {f"{live}.{key}": array for key, array in filled(WRN).items()}
    tensors |= {f"{average}.{key}": array * 2 for key, array in filled(WRN).items()}
    network = found(tensors)
    assert (network.copy, network.averaged) == (f"{average}.", True)
    np.testing.assert_array_equal(network.tensors["fc.weight"], filled(WRN)["fc.weight"] * 2)


def test_a_moving_average_is_taken_before_the_weights_that_it_averages() -> None:
    live = {f"state_dict.{key}": array for key, array in filled(WRN).items()}
    averaged = {key: array * 2 for key, array in filled(WRN).items()}
    both = live | {f"state_dict_ema.{key}": array for key, array in averaged.items()}
    for which, tensors in ((None, averaged), ("ema", averaged), ("live", filled(WRN)), ("state_dict", filled(WRN))):
        network = found(both, which=which)
        assert network.averaged == (tensors is averaged)
        np.testing.assert_array_equal(network.tensors["fc.weight"], tensors["fc.weight"])
    assert "'other'" in refusal(both, which="other").message
    assert refusal(live, which="ema").hint == "leave out --which"


def blank(tensors: Tensors) -> Tensors:
    """As a network just made: no image went through its batch norms."""
    values = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    return {key: np.full_like(a, values.get(key.rpartition(".")[2], 2)) for key, a in tensors.items()}


@pytest.mark.parametrize("name", ["swa_model.module", "callbacks.StochasticWeightAveraging.average_model_state.net"])
def test_a_moving_average_whose_norms_saw_no_image_is_not_taken_unless_named(name: str) -> None:
    live = {f"net.{key}": array for key, array in filled(WRN).items()}
    both = live | {f"{name}.{key}": array for key, array in blank(filled(WRN)).items()}
    network = found(both)
    assert_same(network, filled(WRN))
    assert network.remarks == (f"weights: not the moving average {name}, whose batch norms never saw an image",)
    named = found(both, which="ema")
    assert (named.averaged, named.remarks) == (True, (f"weights: no image went through the batch norms of {name}",))
    only = found({f"ema.{key}": array for key, array in blank(filled(WRN)).items()})
    assert (only.averaged, only.remarks) == (True, ("weights: no image went through the batch norms of ema",))
    pretrained = {key.replace("net.", "average_model_state.", 1): array * 2 for key, array in live.items()}
    assert found(live | pretrained).copy == "net.", "Lightning's average has the statistics of its beginning"


def test_the_average_of_mmengine_lies_where_others_have_the_live_weights() -> None:
    """Its EMAHook swaps both before it saves."""
    average = {f"state_dict.backbone.{key}": array for key, array in filled(WRN).items()}
    live = {f"ema_state_dict.module.backbone.{key}": array * 2 for key, array in filled(WRN).items()}
    memory = Memory(average | live | {"ema_state_dict.steps": np.array(9)}, **{"meta.mmengine_version": "0.10.4"})
    for which, factor in ((None, 1), ("ema", 1), ("live", 2)):
        network = recognise(memory, which)         # type: ignore[arg-type]
        assert network.averaged == (factor == 1)
        np.testing.assert_array_equal(network.tensors["fc.weight"], filled(WRN)["fc.weight"] * factor)


def test_a_moving_average_without_statistics_is_left_out_with_the_reason() -> None:
    live = {f"model.{key}": array for key, array in filled(WRN).items()}
    shadow = {key.replace("model", "ema.shadow"): array * 2 for key, array in live.items() if "running" not in key}
    network = found(live | shadow)
    assert_same(network, filled(WRN))
    assert network.ignored["ema.shadow.conv1"] == "of an incomplete moving average"


def test_a_file_of_many_blocks_is_refused_in_linear_time() -> None:
    conv = np.broadcast_to(np.float32(0), (16, 16, 3, 3))
    refusal({f"block.{block}.{index}.weight": conv for block in range(5000) for index in (0, 1)})


def test_of_two_networks_none_is_guessed_unless_they_are_the_same() -> None:
    first = {f"student.{key}": array for key, array in filled(WRN).items()}
    second = {f"expert.{key}": array * 2 for key, array in filled(WRN).items()}
    error = refusal(first | second)
    assert "2 networks, under 'student.', 'expert.'" in error.message
    assert error.hint.endswith("--which student")
    assert found(first | second, which="expert").copy == "expert."
    members = {key.replace("student", "models.0"): array for key, array in first.items()}
    members |= {key.replace("expert", "models.1"): array for key, array in second.items()}
    assert "2 networks, under 'models.0.', 'models.1.'" in refusal(members).message
    statistics = {key: array + ("running_mean" in key) for key, array in first.items()}
    assert "2 networks" in refusal(first | {f"adapted.{key}": array for key, array in statistics.items()}).message
    same = {f"attacker.{key.removeprefix('student.')}": array for key, array in first.items()}
    assert_same(found(first | same), filled(WRN))


def test_a_teacher_of_another_architecture_is_left_out_and_listed() -> None:
    student = {f"student.{key}": array for key, array in filled(WRN).items()}
    teacher = {f"teacher.{key}": array for key, array in filled(WIDE).items()}
    network = found(student | teacher)
    assert_same(network, filled(WRN))
    assert set(network.ignored.values()) == {"of another network, wrn_16_2"}
    twin = {f"teacher.{key}": array * 2 for key, array in filled(WRN).items()}
    assert "2 networks" in refusal(student | twin).message


@pytest.mark.parametrize(("kind", "slope"), [("GELU", None), ("LeakyReLU", 0.2), ("LeakyReLU", 0.01)])
def test_an_activation_that_the_file_states_and_no_graph_has_is_refused(kind: str, slope: float | None) -> None:
    facts = {"relu1.__class__": f"torch.nn.modules.activation.{kind}", "relu1.negative_slope": slope}
    with pytest.raises(WeightsError, match=f"a module of the file is {kind}"):
        recognise(Memory(filled(WRN), **{key: fact for key, fact in facts.items() if fact}))     # type: ignore[arg-type]


IDENTITY, MAXIMUM = "torch.nn.modules.linear.Identity", "torch.nn.modules.pooling.AdaptiveMaxPool2d"


@pytest.mark.parametrize(
    ("architecture", "facts"),
    [
        (BASIC, {"conv1.stride.0": 1}), (BASIC, {"maxpool.__class__": IDENTITY}),             # stems for small images
        (BASIC, {"layer3.0.conv1.dilation.0": 2, "layer3.0.conv1.stride.0": 1}),
        (WRN, {"layer1.0.conv2.dilation.0": 2}), (WRN, {"conv1.padding_mode": "reflect"}),
        (BASIC, {"layer1.0.bn1.eps": 1e-5, "layer2.0.bn1.eps": 1e-3}),
    ],
)  # fmt: skip
def test_a_module_that_computes_something_else_is_refused(architecture: Architecture, facts: dict[str, object]) -> None:
    """A pickled module states what its layers do; tensors and names are those of the usual network."""
    with pytest.raises(WeightsError, match=rf"{list(facts)[-1]} is .* in the file, and .* in {architecture.name}"):
        recognise(Memory(filled(architecture), **facts))                  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "facts", "variant"),
    [
        (BASIC, {"layer1.0.bn1.eps": 1e-3, "layer2.0.conv1.stride.0": 2, "conv1.stride.0": 2}, {"bn_eps": 1e-3}),
        (BASIC, {"avgpool.__class__": MAXIMUM}, {"pool": "max"}),
        (BASIC, {"global_pool.pool_type": "avgmax"}, {"pool": "avgmax"}),
        (BASIC, {"global_pool.pool_type": "avg", "layer2.0.bn1.eps": 1e-5}, {}),
        (WRN, {"layer1.0.bn1.eps": 1e-5, "bn.eps": 1e-3}, {"final_bn_eps": 1e-3}),
        (WRN, {"layer1.0.bn1.eps": 1e-3, "bn.eps": 1e-3}, {"bn_eps": 1e-3}),
        (WRN, {"layer2.0.conv1.stride.0": 1, "layer2.0.conv2.stride.0": 2}, {"stride_on": "conv2"}),
    ],
)
def test_what_a_module_states_is_computed(
    architecture: Architecture, facts: dict[str, object], variant: dict[str, object]
) -> None:
    result = recognise(Memory(filled(architecture), **facts))              # type: ignore[arg-type]
    assert result.architecture.variant() == variant


def test_a_pre_activation_network_with_torchvisions_names_is_not_torchvisions() -> None:
    """bearpaw's PreResNet has the shapes of WRN-n-1; its shortcuts read the raw input, which is assumed and said."""
    result = found({name.replace("shortcut", "downsample.0"): array for name, array in filled(WRN).items()})
    assert result.architecture.variant() == {"shortcut": "raw"}
    assert (result.origin.scheme.title, result.origin.stated) == ("bearpaw's PreResNet", frozenset())


def test_three_numbers_that_are_no_colours_are_no_normalisation() -> None:
    of_classes = {"class_mean": np.float32([9, 8, 7]), "class_std": np.float32([0.1, 0.2, 0.3])}
    assert found({**filled(WRN), **of_classes}).origin.normalisation is None


def test_statistics_in_the_file_are_its_normalisation() -> None:
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.4, 0.5, 0.6])
    for names, factor in ((("normalize.mean", "normalize.std"), 1), (("mu", "sigma"), 1), (("mean", "std"), 255)):
        buffers = dict(zip(names, (mean.reshape(1, 3, 1, 1) * factor, std.reshape(1, 3, 1, 1) * factor), strict=True))
        network = found({**buffers, **filled(WRN)})
        assert network.origin.normalisation is not None
        np.testing.assert_allclose(network.origin.normalisation, (mean, std), rtol=1e-6)
        assert not network.ignored


@pytest.mark.parametrize(
    ("role", "value", "words"),
    [
        ("weight", np.nan, "has NaN or infinity"),
        ("weight", -np.inf, "has NaN or infinity"),
        ("weight", 1e16, "has numbers above 1e15"),
        ("running_var", -1, "has negative variances"),
    ],
)
def test_values_that_no_trained_network_has_are_refused(role: str, value: float, words: str) -> None:
    tensors = filled(WRN)
    tensors[f"layer2.0.bn1.{role}"][3] = value
    assert refusal(tensors).message == f"layer2.0.bn1.{role} {words}"


def test_integers_are_refused_as_quantised() -> None:
    tensors = filled(WRN)
    tensors["layer1.0.conv1.weight"] = tensors["layer1.0.conv1.weight"].astype(np.int8)
    assert "quantised without their scales" in refusal(tensors).message


def test_norms_that_training_never_touched_show_the_wiring() -> None:
    rng = np.random.default_rng(0)
    tensors = {
        key: array if array.shape == () else rng.uniform(0.5, 1, array.shape).astype(np.float32)
        for key, array in filled(WIDE).items()
    }
    theirs = {xternalz(key): array for key, array in tensors.items()}
    assert found(theirs).architecture.variant() == {}
    for stage in (2, 3):
        theirs[f"block{stage}.layer.0.bn1.weight"][:] = 1
        theirs[f"block{stage}.layer.0.bn1.bias"][:] = 0
    network = found(theirs)
    assert network.architecture.variant() == {"activation": "leaky_relu", "shortcut": "skip_norm"}
    assert "shortcut" in network.origin.stated
    assert "activation" not in network.origin.stated
    assert found(theirs, variant={"activation": "relu"}).architecture.activation == "relu"


@pytest.mark.parametrize("name", ["wide_resnet50_2", "wide_resnet101_2"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_keys_and_shapes_of_both_libraries_fit_in_their_order(library: str, name: str) -> None:
    listing = SHARED / "oracle" / "state_dict_keys.json"
    if not listing.exists():
        pytest.skip(f"{listing} is not here")
    theirs = json.loads(listing.read_text())[f"{library}/{name}"]
    network = found({key: np.broadcast_to(np.float32(0), shape) for key, shape in theirs.items()})
    assert list(network.tensors) == list(theirs)
    assert network.architecture == get_architecture(name)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_file_reads_and_fits_in_order(tmp_path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    architecture = get_architecture("wide_resnet14_2", 9)
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
        torch.save({"model": state, "ema": 0.999, "model_ema": {}}, path, _use_new_zipfile_serialization=kind == "zip")
    with open_weights(path) as reader:
        assert_same(recognise(reader), tensors)
