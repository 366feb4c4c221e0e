"""The graph: valid ONNX, exact folding, any batch, half the bytes on request, and a way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, numpy_helper

from fakes import TINY, tiny_images, tiny_tensors
from wideresnet.architectures import wide_resnet, wrn
from wideresnet.errors import BundleError, WeightsError
from wideresnet.graph import read_graph, write_graph
from wideresnet.graph.fold import EPSILON, conv_with_norm, scale_and_shift, unfolded
from wideresnet.layers import Norm
from wideresnet.records import Preprocess


def view(side: int = 32) -> Preprocess:
    return Preprocess(resize=side, crop=side)


def tiny_graph(name: str, *, half: bool = False) -> onnx.ModelProto:
    architecture = TINY[name]
    return write_graph(architecture, tiny_tensors(architecture), view(architecture.input_size), half=half)


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    compiled = ov.Core().compile_model(
        ov.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled(batch)[0].copy()


# Folding


def test_folding_is_done_in_float64():
    """A shift that is the small difference of large float32 numbers keeps its digits."""
    tensors = {
        "bn.weight": np.array([3.0], np.float32),
        "bn.bias": np.array([30_000.0], np.float32),
        "bn.running_mean": np.array([10_000.1], np.float32),
        "bn.running_var": np.array([1.0], np.float32),
        "conv.weight": np.full((1, 2, 1, 1), 0.1, np.float32),
    }
    norm = Norm("bn", 1, 1, "conv")
    scale, shift = scale_and_shift(tensors, norm)
    exact_scale = 3.0 / np.sqrt(1.0 + EPSILON)
    assert scale.dtype == shift.dtype == np.float64
    assert scale == pytest.approx(exact_scale, rel=1e-15)
    assert shift == pytest.approx(30_000.0 - float(np.float32(10_000.1)) * exact_scale, rel=1e-12)
    weight, bias = conv_with_norm(tensors, norm)
    assert weight.dtype == np.float64
    np.testing.assert_allclose(weight, float(np.float32(0.1)) * exact_scale, rtol=1e-15)
    assert bias == shift


def test_an_unfolded_norm_folds_to_the_same_scale_and_shift():
    scale, shift = np.array([0.5, -2.0, 0.0]), np.array([1.0, 0.0, -3.0])
    norm = Norm("bn", 3, 1, epsilon=1e-3)
    again = scale_and_shift(unfolded(scale, shift, norm), norm)
    np.testing.assert_allclose(again[0], scale, rtol=1e-7)
    np.testing.assert_array_equal(again[1], shift)


# The model


@pytest.mark.parametrize("name", TINY)
def test_the_graph_is_valid_and_its_shapes_follow(name):
    """ONNX's own checker, strictly: every shape is inferred and the batch stays free."""
    model = tiny_graph(name)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    features = next(v for v in inferred.graph.value_info if v.name == "features")
    assert [d.dim_param or d.dim_value for d in features.type.tensor_type.shape.dim][1] == TINY[name].features


def test_images_go_in_as_uint8_nhwc_and_logits_come_out():
    model = tiny_graph("basic")
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 64, 64, 3]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", TensorProto.FLOAT)
    assert [d.dim_param or d.dim_value for d in logits.type.tensor_type.shape.dim] == ["batch", 10]


def test_no_batch_norm_is_left():
    for name in TINY:
        assert "BatchNormalization" not in {node.op_type for node in tiny_graph(name).graph.node}


def test_a_image_gets_the_same_logits_in_any_batch():
    model, images = tiny_graph("wrn_10_1"), tiny_images(7, 32)
    together = run(model, images)
    one_by_one = np.concatenate([run(model, images[k : k + 1]) for k in (0, 3, 6)])
    np.testing.assert_allclose(one_by_one, together[[0, 3, 6]], rtol=0, atol=1e-6)


def test_mean_and_std_are_inside():
    """An image of exactly the mean is zero after normalisation, whatever the std: only the std's factor goes."""
    architecture = TINY["wrn_10_1"]
    tensors = tiny_tensors(architecture)
    grey = np.full((1, 32, 32, 3), 51, np.uint8)   # 51 / 255 = 0.2
    same = [
        run(write_graph(architecture, tensors, replace(view(), mean=(0.2,) * 3, std=std)), grey)
        for std in ((1.0, 1.0, 1.0), (0.1, 0.2, 0.3))
    ]
    np.testing.assert_allclose(same[0], same[1], rtol=0, atol=1e-5)


def test_equal_input_makes_equal_bytes():
    first, second = (tiny_graph("basic").SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


# Half


def test_half_halves_the_file_and_nearly_keeps_the_logits():
    architecture = wrn(10, 4)
    tensors, images = tiny_tensors(architecture), tiny_images(4, 32)
    whole, half = (write_graph(architecture, tensors, view(), half=half) for half in (False, True))
    assert half.ByteSize() < 0.52 * whole.ByteSize()
    onnx.checker.check_model(half, full_check=True)
    difference = np.abs(run(half, images) - run(whole, images)).max()
    assert 0 < difference < 0.01


def test_half_keeps_biases_and_scales_whole():
    model = tiny_graph("wrn_16_2", half=True)
    kinds = {name.rsplit(".", 1)[-1]: value.dtype for name, value in constants(model).items()}
    assert kinds.pop("half") == np.float16
    assert set(kinds.values()) == {np.dtype(np.float32)}


# The way back


@pytest.mark.parametrize("half", [False, True], ids=["whole", "half"])
@pytest.mark.parametrize("name", TINY)
def test_what_is_read_back_computes_the_same(name, half):
    architecture = TINY[name]
    model, images = tiny_graph(name, half=half), tiny_images(2, architecture.input_size)
    tensors = read_graph(model, architecture)
    assert {key: value.shape for key, value in tensors.items()} == architecture.tensors()
    assert list(tensors) == list(architecture.tensors())
    again = write_graph(architecture, tensors, view(architecture.input_size))
    np.testing.assert_allclose(run(again, images), run(model, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [wrn(16, 1), wrn(10, 2), wrn(10, 1, classes=3), wide_resnet(50)],
    ids=["deeper", "wider", "fewer classes", "another family"],
)
def test_the_graph_of_another_network_is_refused(other):
    with pytest.raises(BundleError, match="no float graph of"):
        read_graph(tiny_graph("wrn_10_1"), other)


def test_a_deeper_graph_is_not_read_as_a_shallower_network():
    """It has every constant that is looked for, and some more."""
    architecture = wrn(16, 1)
    model = write_graph(architecture, tiny_tensors(architecture), view())
    with pytest.raises(BundleError, match="no float graph of wrn_10_1"):
        read_graph(model, wrn(10, 1))


def test_a_weight_that_float16_cannot_hold_is_an_error_not_infinity():
    architecture = TINY["wrn_10_1"]
    tensors = tiny_tensors(architecture)
    tensors["conv1.weight"] = tensors["conv1.weight"] * 1e6
    with pytest.raises(WeightsError, match=r"conv1\.weight is too large for float16"):
        write_graph(architecture, tensors, view(), half=True)
