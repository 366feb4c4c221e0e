"""Build files: the model zoo's are read as they are, and a misspelt key is never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.records import Preprocess
from wideresnet.tasks.zoo.buildfile import read_build_file

# The form of the zoo's files: both sides in Resize, settings for its hardware, a softmax in the graph.
ZOO = """
name: wide_resnet50_2
frontend:
    type: onnx
    checkpoint: weights/wide_resnet50_2.pth
    shape:
        input: [1, 3, 224, 224]
    dtype: fp32
graph:
    extra_ops:
        type: softmax
backend:
    type: tvm_vacc
    dtype: int8
    compile:
        cluster_mode: 0
        data_transport_mode: 1
    quantize:
        calibrate_mode: percentile
        quantize_per_channel: true
dataset:
    type: tvm
    path: imagenet/calibration
    sampler:
        suffix: JPEG
        get_data_num: 50
    process_ops:
        - type: DecodeImage
        - type: Resize
          size: [256, 256]
        - type: CenterCrop
          crop_size: [224, 224]
        - type: CvtColor
          code: bgr2rgb
        - type: Normalize
          mean: [0.485, 0.456, 0.406]
          std: [0.229, 0.224, 0.225]
        - type: ToTensor
workspace:
    path: ./deploy_weights/
"""


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "build.yaml"
    path.write_text(text)
    return path


def test_a_file_of_the_zoo_is_understood(tmp_path: Path) -> None:
    build = read_build_file(file(tmp_path, ZOO))
    assert build.frontend.checkpoint == "weights/wide_resnet50_2.pth"
    assert build.preprocess() == Preprocess(resize=256, crop=224, mode="squash")
    assert build.dataset is not None
    assert (build.dataset.path, build.dataset.sampler.get_data_num) == (Path("imagenet/calibration"), 50)
    assert build.target() == Path("deploy_weights/wide_resnet50_2-int8")


def test_what_means_nothing_here_is_named(tmp_path: Path) -> None:
    assert read_build_file(file(tmp_path, ZOO)).ignored() == [
        "backend.compile.cluster_mode",
        "backend.compile.data_transport_mode",
        "dataset.sampler.suffix",
    ]


@pytest.mark.parametrize(
    ("mode", "estimator"), [("percentile", "percentile"), ("max", "max"), ("mse", "mse"), ("kl_divergence", None)]
)
def test_ways_of_calibrating_are_used_where_they_are_known(tmp_path: Path, mode: str, estimator: str | None) -> None:
    build = read_build_file(file(tmp_path, ZOO.replace("calibrate_mode: percentile", f"calibrate_mode: {mode}")))
    assert build.estimator() == estimator
    assert ("backend.quantize.calibrate_mode" in build.ignored()) == (estimator is None)


def test_opencvs_resize_can_be_asked_for(tmp_path: Path) -> None:
    text = ZOO.replace("size: [256, 256]", "size: [256, 256]\n          interpolation: opencv-bilinear", 1)
    expected = Preprocess(resize=256, crop=224, interpolation="opencv-bilinear", mode="squash")
    assert read_build_file(file(tmp_path, text)).preprocess() == expected


def test_one_number_is_the_shorter_side(tmp_path: Path) -> None:
    text = ZOO.replace("size: [256, 256]", "size: 256\n          interpolation: bicubic", 1)
    assert read_build_file(file(tmp_path, text)).preprocess() == Preprocess(256, 224, "bicubic")


@pytest.mark.parametrize(
    ("right", "wrong", "message", "hint"),
    [
        ("calibrate_mode", "alibrate_mode", "backend.quantize.alibrate_mode", "did you mean 'calibrate_mode'?"),
        ("frontend:", "frontent:", "frontent", "did you mean 'frontend'?"),
        ("dtype: int8", "dtype: int4", "backend.dtype", ""),
        ("get_data_num: 50", "get_data_num: 1", "dataset.sampler.get_data_num", ""),
        ("quantize_per_channel: true", "quantize_per_channel: false", "quantize_per_channel", ""),
        ("type: ToTensor", "type: Rotate", r"dataset.process_ops.5.type", ""),
        ("code: bgr2rgb", "code: rgb2bgr", r"dataset.process_ops.3.code", ""),
        ("crop_size: [224, 224]", "size: [224, 224]", r"process_ops.2: CenterCrop needs crop_size", ""),
        ("crop_size: [224, 224]", "crop_size: 224\n          size: 224", r"process_ops.2: CenterCrop has no size", ""),
        ("type: ToTensor", "type: ToTensor\n          std: [1, 1, 1]", r"process_ops.5: ToTensor has no std", ""),
        ("          size: [256, 256]\n", "", r"process_ops.1: Resize needs size", ""),
        ("          std: [0.229, 0.224, 0.225]\n", "", r"process_ops.4: Normalize needs std", ""),
        ("name: wide", ": : wide", "is not YAML", ""),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, right: str, wrong: str, message: str, hint: str) -> None:
    assert right in ZOO
    with pytest.raises(ConfigError, match=message) as caught:
        read_build_file(file(tmp_path, ZOO.replace(right, wrong, 1)))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("[256, 256]", "[256, 320]", "only squares"),
        ("        - type: Resize\n          size: [256, 256]\n", "", "process_ops has no Resize"),
        ("CenterCrop\n          crop_size", "Resize\n          size", "in this order: Resize, Resize, Normalize"),
        ("DecodeImage", "CenterCrop\n          crop_size: 9", "order: CenterCrop, Resize, CenterCrop, Normalize"),
        ("mean: [0.485, 0.456, 0.406]", "mean: [123.675, 116.28, 103.53]", "a mean is from 0 to 1"),
    ],
)
def test_a_transform_that_cannot_be_is_refused(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    build = read_build_file(file(tmp_path, ZOO.replace(right, wrong, 1)))
    with pytest.raises(ConfigError, match=message):
        build.preprocess()


@pytest.mark.parametrize("shape", ["[1, 3, 256, 256]", "[1, 3, 256, 224]", "[]"])
def test_another_input_than_the_model_takes_is_refused(tmp_path: Path, shape: str) -> None:
    """Also without process_ops, where the model's own preprocessing decides."""
    build = read_build_file(file(tmp_path, ZOO.replace("[1, 3, 224, 224]", shape)))
    with pytest.raises(ConfigError, match="the model takes images of 224 pixels a side"):
        build.check_shape(224)
    read_build_file(file(tmp_path, ZOO)).check_shape(224)


def test_in_another_precision_calibration_means_nothing(tmp_path: Path) -> None:
    ignored = read_build_file(file(tmp_path, ZOO.replace("dtype: int8", "dtype: fp16"))).ignored()
    assert {"backend.quantize.calibrate_mode", "dataset.path", "dataset.sampler.get_data_num"} <= {*ignored}


def test_without_normalize_the_statistics_are_those_of_the_model(tmp_path: Path) -> None:
    text = ZOO
    for line in ("- type: Normalize\n", "  mean: [0.485, 0.456, 0.406]\n", "  std: [0.229, 0.224, 0.225]\n"):
        text = text.replace(f"        {line}", "")
    half = Preprocess(32, 32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), alpha="white")
    expected = Preprocess(256, 224, "bilinear", "squash", half.mean, half.std, "white")
    assert read_build_file(file(tmp_path, text)).preprocess(half) == expected


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nothing\.yaml"):
        read_build_file(tmp_path / "nothing.yaml")
