"""Counts by arithmetic equal the published ones, and the torch modules are what the arithmetic says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shared import SHARED, needs_shared
from wideresnet.architectures import ARCHITECTURES, get_architecture, wide_resnet, with_variant, wrn, wrn_imagenet
from wideresnet.errors import ConfigError
from wideresnet.layers import Conv, Norm

# depth, widen, parameters for 10 classes, for 100
CIFAR = [
    (40, 1, 563_930, 569_780),
    (40, 2, 2_243_546, 2_255_156),
    (40, 4, 8_949_210, 8_972_340),
    (40, 8, 35_748_314, 35_794_484),
    (28, 10, 36_479_194, 36_536_884),
    (28, 12, 52_517_850, 52_587_060),
    (22, 8, 17_158_106, 17_204_276),
    (22, 10, 26_797_914, 26_855_604),
    (16, 8, 10_961_370, 11_007_540),
    (16, 10, 17_116_634, 17_174_324),
    (16, 4, 2_748_890, None),
    (28, 2, 1_467_610, None),
    (16, 2, 691_674, None),
]


# Counts


@pytest.mark.parametrize(("depth", "widen", "ten", "hundred"), CIFAR)
def test_wrn_has_the_published_parameters(depth, widen, ten, hundred):
    assert get_architecture(f"wrn_{depth}_{widen}").parameters() == ten
    if hundred is not None:
        assert get_architecture(f"wrn_{depth}_{widen}", 100).parameters() == hundred


@pytest.mark.parametrize(
    ("name", "parameters"), [("wide_resnet50_2", 68_883_240), ("wide_resnet101_2", 126_886_696)]
)
def test_bottleneck_networks_have_the_published_parameters(name, parameters):
    assert get_architecture(name).parameters() == parameters


@pytest.mark.parametrize(
    ("name", "thousand", "ten"),
    [("wide_resnet14_2", 21_553_960, 19_525_450), ("wide_resnet26_2", 39_673_640, 37_645_130)],
)
def test_the_small_bottleneck_networks_are_told_from_their_tensors(name, thousand, ten):
    assert get_architecture(name).parameters() == thousand
    architecture = get_architecture(name, 10)
    assert architecture.parameters() == ten


@pytest.mark.parametrize(
    ("depth", "widen", "millions"),
    [
        (18, 1, 11.69), (18, 1.5, 25.88), (18, 2, 45.62), (18, 3, 101.78),
        (34, 1, 21.80), (34, 1.5, 48.61), (34, 2, 86.04),
    ],
)  # fmt: skip
def test_basic_networks_have_the_parameters_of_the_papers_table_7(depth, widen, millions):
    assert round(wrn_imagenet(depth, widen).parameters() / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "size", "billions"),
    [
        ("wide_resnet50_2", 176, 7.272),
        ("wide_resnet50_2", 224, 11.398),
        ("wide_resnet50_2", 288, 18.840),
        ("wide_resnet101_2", 224, 22.753),
    ],
)
def test_multiply_accumulates_at_a_size(name, size, billions):
    assert round(get_architecture(name).macs(size) / 1e9, 3) == billions


@pytest.mark.parametrize(("name", "billions"), [("wide_resnet50_2", 11.456), ("wide_resnet101_2", 22.838)])
def test_the_thop_figure_is_the_zoos(name, billions):
    """The zoo's table counts four operations for each element that passes a batch norm as well."""
    assert round(get_architecture(name).thop_macs() / 1e9, 3) == billions


def test_counts_without_a_size_are_at_the_size_of_the_design():
    for architecture in ARCHITECTURES.values():
        assert architecture.macs() == architecture.macs(architecture.input_size)
        assert architecture.thop_macs() == architecture.thop_macs(architecture.input_size)


# Names


@pytest.mark.parametrize("name", ["wrn_28_10", "WRN-28-10", "wrn-28-10", " Wrn_28-10 "])
def test_a_wrn_is_known_by_every_spelling(name):
    assert get_architecture(name) == wrn(28, 10)


@pytest.mark.parametrize("name", ["wide_resnet50_2", "wide-resnet50-2", "WIDE_RESNET50_2"])
def test_a_wide_resnet_is_known_by_every_spelling(name):
    assert get_architecture(name) == wide_resnet(50)


def test_every_entry_is_called_what_it_is_listed_as():
    for name, architecture in ARCHITECTURES.items():
        assert architecture.name == name
        assert get_architecture(name) == architecture


def test_half_widths_are_written_with_an_underscore():
    assert get_architecture("wrn_imagenet_18_1_5").widen == 1.5


def test_any_depth_of_6n_plus_4_and_any_width_make_a_network():
    architecture = get_architecture("wrn_70_3", classes=7, dropout=0.3)
    assert (architecture.stages, architecture.features) == ((11, 11, 11), 192)
    assert (architecture.classes, architecture.dropout) == (7, 0.3)


@pytest.mark.parametrize(("name", "nearest"), [("wrn_27_10", "22 or 28"), ("wrn_3_1", "10 or 16")])
def test_an_impossible_depth_names_the_nearest(name, nearest):
    with pytest.raises(ConfigError, match=r"must be 6n \+ 4") as caught:
        get_architecture(name)
    assert nearest in caught.value.hint


def test_width_zero_is_an_error():
    with pytest.raises(ConfigError, match="widening factor"):
        get_architecture("wrn_28_0")


def test_an_unknown_name_gets_the_closest_known_one():
    with pytest.raises(ConfigError, match="no architecture called 'wide_resnet50'") as caught:
        get_architecture("wide_resnet50")
    assert "did you mean 'wide_resnet50_2'?" in caught.value.hint


@pytest.mark.parametrize("name", ["wrn_6000004_1", "wrn_10_99999", "wrn_10_" + "9" * 5000])
def test_a_network_of_a_million_layers_has_no_name(name):
    """A card may name it."""
    with pytest.raises(ConfigError, match="no architecture called"):
        get_architecture(name)


@pytest.mark.parametrize("classes", [0, -1])
def test_a_classifier_needs_a_class(classes):
    with pytest.raises(ConfigError, match="at least one class"):
        get_architecture("wrn_16_4", classes)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_is_a_probability_below_one(dropout):
    with pytest.raises(ConfigError, match="dropout must be in"):
        get_architecture("wrn_16_4", dropout=dropout)


def test_networks_without_a_place_for_dropout_say_so():
    assert get_architecture("wide_resnet50_2", dropout=0.0).dropout == 0
    with pytest.raises(ConfigError, match="wide_resnet50_2 has no dropout"):
        get_architecture("wide_resnet50_2", dropout=0.3)


# The list of layers


def test_the_stem_of_the_basic_networks_stays_64_wide():
    """Also where the first stage is as wide as the stem it needs no projection; wider ones do."""
    first = [next(wrn_imagenet(18, widen).blocks()) for widen in (1, 1.5, 2, 3)]
    assert [block.c_in for block in first] == [64] * 4
    assert [block.project for block in first] == [False, True, True, True]


def test_dropout_adds_no_tensor():
    assert get_architecture("wrn_16_4", dropout=0.3).tensors() == get_architecture("wrn_16_4").tensors()


def test_only_the_middle_convolution_of_a_bottleneck_carries_the_stride():
    layers = {layer.name: layer for layer in wide_resnet(50).layers() if isinstance(layer, Conv)}
    assert [layers[f"layer2.0.conv{k}"].stride for k in (1, 2, 3)] == [1, 2, 1]


# Variants

VARIANTS = [
    {"activation": "silu"},
    {"bn_eps": 1e-3, "final_bn_eps": 1e-4},
    {"shortcut": "skip_norm"},
    {"stride_on": "conv2", "conv_bias": True},
    {"padding": "same", "pool": "avgmax"},
    {"block": "postact", "project_first": True},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_variant_is_stated_by_what_differs(variant):
    architecture = with_variant(wrn(10, 1), variant)
    assert architecture.variant() == variant
    assert with_variant(wrn(10, 1), architecture.variant()) == architecture


def test_named_networks_have_no_variant():
    assert all(architecture.variant() == {} for architecture in ARCHITECTURES.values())
    assert with_variant(wide_resnet(50), {"activation": "relu"}) == wide_resnet(50)


@pytest.mark.parametrize(
    ("name", "variant", "message", "hint"),
    [
        ("wrn_10_1", {"colour": "red"}, "no variant field 'colour' of wrn_10_1", "set any of block, activation"),
        ("wrn_10_1", {"activation": "gelu"}, "activation cannot be 'gelu'", "one of relu, leaky_relu, silu"),
        ("wrn_10_1", {"conv_bias": 1}, "conv_bias cannot be 1", "one of False, True"),
        ("wrn_10_1", {"block": "basic"}, "block cannot be 'basic'", "one of preact, postact"),
        ("wrn_10_1", {"bn_eps": 0.0}, r"bn_eps cannot be 0\.0", "a number above 0, at most 0.1"),
        ("wrn_10_1", {"bn_eps": float("nan")}, "bn_eps cannot be nan", "a number above 0, at most 0.1"),
        ("wrn_10_1", {"bn_eps": "1e-3"}, "bn_eps cannot be '1e-3'", "a number above 0, at most 0.1"),
        ("wrn_10_1", {"block": "postact", "shortcut": "raw"}, "shortcut has no effect", "stride_on, padding"),
        ("wide_resnet50_2", {"padding": "same"}, "padding has no effect on wide_res", "activation, bn_eps, pool"),
        ("wide_resnet50_2", {"block": "postact"}, "block has no effect", "activation, bn_eps, pool"),
    ],
)
def test_a_variant_that_a_network_cannot_have_is_an_error(name, variant, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        with_variant(get_architecture(name), variant)
    assert hint in caught.value.hint


def test_biases_and_projections_are_counted():
    plain, biased = wrn(10, 1), with_variant(wrn(10, 1), {"conv_bias": True})
    convs = [layer for layer in plain.layers() if isinstance(layer, Conv)]
    assert biased.parameters() - plain.parameters() == sum(conv.c_out for conv in convs)
    assert list(biased.tensors())[:2] == ["conv1.weight", "conv1.bias"]
    projected = with_variant(plain, {"project_first": True})
    assert projected.tensors().keys() - plain.tensors().keys() == {"layer1.0.shortcut.weight"}


def test_a_post_activation_network_has_a_norm_after_the_stem_and_none_before_the_pooling():
    tensors = with_variant(wrn(10, 2), {"block": "postact"}).tensors()
    assert list(tensors)[1] == "bn1.weight"
    assert "bn.weight" not in tensors
    assert tensors["layer1.0.bn1.weight"] == (32,)            # as wide as what conv1 gives


def test_a_skipped_norm_keeps_its_tensors():
    architecture = with_variant(wrn(10, 2), {"shortcut": "skip_norm"})
    assert architecture.tensors() == wrn(10, 2).tensors()
    idle = [layer.name for layer in architecture.layers() if isinstance(layer, Norm) and layer.idle]
    assert idle == ["layer2.0.bn1", "layer3.0.bn1"]


@pytest.mark.parametrize(("side", "pads"), [(32, (0, 1)), (15, (1, 1))])
def test_same_padding_is_tensorflows(side, pads):
    architecture = with_variant(wrn(10, 1), {"padding": "same"})
    convs = {layer.name: layer for layer in architecture.layers() if isinstance(layer, Conv)}
    assert convs["layer2.0.conv1"].pads(side) == pads
    assert convs["layer2.0.conv2"].pads(side) == (1, 1)
    assert convs["layer2.0.shortcut"].pads(side) == (0, 0)


# Against the torch modules


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_module_has_the_keys_shapes_and_parameters_of_the_arithmetic(name):
    """Every listed network, in order; on torch's meta device, where tensors take no memory."""
    torch = pytest.importorskip("torch")
    from wideresnet.models import create_model

    architecture = get_architecture(name)
    with torch.device("meta"):
        model = create_model(name)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert list(shapes.items()) == list(architecture.tensors().items())
    assert sum(p.numel() for p in model.parameters()) == architecture.parameters()


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        (wrn(10, 2), 32),
        (wrn(10, 1), 30),
        (replace(wide_resnet(50), stages=(1, 1, 1, 1), stem=8, inner=4, out=8), 75),
        (replace(wrn_imagenet(18, 1.5), stages=(1, 2, 1, 1), stem=8, inner=12, out=12), 64),
    ],
)
def test_macs_are_what_a_forward_pass_does(architecture, size):
    """Counted from the maps that really flow, also at sizes that halve unevenly."""
    torch = pytest.importorskip("torch")
    from wideresnet.models import create_model

    model, macs, normed = create_model(architecture).eval(), [], []

    def count(module, _inputs, output):
        if isinstance(module, torch.nn.BatchNorm2d):
            normed.append(output.numel())
        else:
            macs.append(output.numel() * module.weight[0].numel())

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.BatchNorm2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, size, size)).shape == (1, architecture.classes)
    assert sum(macs) == architecture.macs(size)
    assert sum(macs) + 4 * sum(normed) == architecture.thop_macs(size)
    assert len(normed) == sum(isinstance(layer, Norm) for layer in architecture.layers())


def test_dropout_sits_between_the_convolutions_and_rests_in_eval_mode():
    torch = pytest.importorskip("torch")
    from wideresnet.models import create_model

    model = create_model("wrn_10_1", num_classes=3, dropout=0.5)
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.5] * 3
    x = torch.ones(2, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@needs_shared("oracle", "state_dict_keys.json")
@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("name", ["wide_resnet50_2", "wide_resnet101_2"])
def test_keys_and_shapes_are_the_librarys_in_its_order(library, name):
    """A checkpoint saved here loads there and the other way round."""
    stored = json.loads((SHARED / "oracle" / "state_dict_keys.json").read_text("utf-8"))[f"{library}/{name}"]
    assert list(get_architecture(name).tensors().items()) == [(k, tuple(shape)) for k, shape in stored.items()]
