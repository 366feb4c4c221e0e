"""The bilinear resize without OpenCV is OpenCV's, to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wideresnet.images.loader import load_crop
from wideresnet.images.opencv_resize import resize_part
from wideresnet.images.preprocess import crop_range, preprocess
from wideresnet.records import Preprocess

HERE = Path(__file__).parent
SIZES = [tuple(map(tuple, pair)) for pair in json.loads((HERE / "opencv.json").read_text("utf-8"))["sizes"]]


@pytest.fixture(scope="module")
def resized():
    with np.load(HERE / "opencv.npz") as stored:
        return dict(stored)


def noise(width, height):
    return np.random.Generator(np.random.PCG64(1000 * width + height)).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_every_stored_resize_comes_out_to_the_byte(resized, old, new):
    expected = resized["{}x{}-{}x{}".format(*old, *new)]
    assert np.array_equal(resize_part(noise(*old), new, range(new[0]), range(new[1])), expected)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_a_part_is_a_part_of_the_whole(resized, old, new):
    columns, rows = range(new[0] // 3, new[0] - new[0] // 4), range(new[1] // 4, new[1])
    expected = resized["{}x{}-{}x{}".format(*old, *new)][rows.start :, columns.start : columns.stop]
    assert np.array_equal(resize_part(noise(*old), new, columns, rows), expected)


@pytest.mark.parametrize("size", [(97, 73), (61, 83)])
def test_a_crop_is_the_middle_of_the_squashed_image(resized, size, tmp_path):
    """From an array and from a file; Pillow's own resize gives another one."""
    spec = Preprocess(resize=36, crop=32, interpolation="opencv-bilinear", mode="squash")
    expected = resized["{}x{}-36x36".format(*size)][2:34, 2:34]
    assert np.array_equal(preprocess(noise(*size), spec), expected)
    Image.fromarray(noise(*size)).save(tmp_path / "a.png")
    assert np.array_equal(load_crop(tmp_path / "a.png", spec), expected)
    pillow = preprocess(noise(*size), Preprocess(resize=36, crop=32, mode="squash"))
    assert not np.array_equal(pillow, expected)


def test_the_aspect_ratio_can_be_kept_too(resized):
    """Black where a resize leaves less than the crop."""
    spec = Preprocess(resize=36, crop=40, interpolation="opencv-bilinear")
    crop = preprocess(noise(97, 73), spec)
    assert crop.shape == (40, 40, 3)
    assert not crop[:2].any()
    assert crop[2:38].any()
    full = resize_part(noise(97, 73), (int(36 * 97 / 73), 36), range(47), range(36))
    assert np.array_equal(crop[2:38], full[:, crop_range(47, 40).start : crop_range(47, 40).stop])


def test_asked_to_decode_at_a_part_of_the_size_it_stays_exact(tmp_path):
    """Without an antialiasing filter a reduced image is quite another, so a JPEG is decoded whole."""
    y, x = np.mgrid[0:400, 0:600]
    pixels = np.stack([x % 256, y % 256, (x * y) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    for interpolation, same in (("opencv-bilinear", True), ("bilinear", False)):
        spec = Preprocess(resize=36, crop=32, interpolation=interpolation, mode="squash")
        full, reduced = (load_crop(tmp_path / "a.jpg", spec, reduced=reduced) for reduced in (False, True))
        assert np.array_equal(full, reduced) is same
