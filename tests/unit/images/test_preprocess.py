from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images.preprocess import crop_range, preprocess, resized_size
from wideresnet.records import Preprocess

specs = st.builds(
    Preprocess,
    resize=st.integers(4, 60),
    crop=st.integers(4, 60),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
    mode=st.sampled_from(["shortest", "squash"]),
)


def torchvisions(image: np.ndarray, spec: Preprocess) -> np.ndarray:
    """Resize as one call of Pillow, then torchvision's ``center_crop`` with its padding."""
    pil = Image.fromarray(image)
    width, height = pil.size
    if spec.mode == "squash":
        size = (spec.resize, spec.resize)
    elif width <= height:
        size = (spec.resize, int(spec.resize * height / width))
    else:
        size = (int(spec.resize * width / height), spec.resize)
    pixels = np.asarray(pil.resize(size, Image.Resampling[spec.interpolation.upper()]))
    crop = spec.crop
    missing_h, missing_w = max(0, crop - size[1]), max(0, crop - size[0])
    pixels = np.pad(
        pixels,
        ((missing_h // 2, (missing_h + 1) // 2), (missing_w // 2, (missing_w + 1) // 2), (0, 0)),
    )
    top, left = round((pixels.shape[0] - crop) / 2.0), round((pixels.shape[1] - crop) / 2.0)
    return pixels[top : top + crop, left : left + crop]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 90), st.integers(1, 90), specs, st.integers(0, 2**32 - 1))
def test_equal_to_a_plain_resize_and_crop(width, height, spec, seed):
    """Cutting columns between Pillow's passes changes no pixel, whatever order this Pillow has."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    result = preprocess(image, spec)
    assert result.shape == (spec.crop, spec.crop, 3)
    np.testing.assert_array_equal(result, torchvisions(image, spec))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (600, 600), (1000, 225), (225, 1000), (200, 900)])
@pytest.mark.parametrize("spec", [Preprocess(256, 224), Preprocess(303, 288, "bicubic")])
def test_equal_at_the_sizes_of_photographs(size, spec):
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    np.testing.assert_array_equal(preprocess(image, spec), torchvisions(image, spec))


@settings(deadline=None, max_examples=100)
@given(st.integers(150, 250), st.integers(150, 250), specs, st.integers(0, 2**32 - 1))
def test_a_large_image_is_taken_to_within_a_level(width, height, spec, seed):
    """Sizes, padding and offsets are those of the exact crop: in noise a shift would be off by a hundred."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    crop = preprocess(Image.fromarray(image), spec, reduced=True)
    assert crop.dtype == np.uint8
    assert np.abs(crop.astype(int) - preprocess(image, spec)).max() <= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((500, 375), (341, 256)),
        ((375, 500), (256, 341)),
        ((257, 256), (257, 256)),
        ((1000, 225), (1137, 256)),
        ((1, 1), (256, 256)),
        ((2, 300), (256, 38400)),
        ((65535, 1), (16_776_960, 256)),
    ],
)
def test_the_long_side_is_truncated(size, expected):
    """500 x 375 at 256: 341.33 becomes 341; 1000 x 225: 1137.78 becomes 1137."""
    assert resized_size(*size, Preprocess(256, 224)) == expected


def test_squash_takes_no_heed_of_the_aspect_ratio():
    assert resized_size(1000, 225, Preprocess(256, 224, mode="squash")) == (256, 256)


@pytest.mark.parametrize(
    ("length", "start"),
    [(224, 0), (225, 0), (226, 1), (227, 2), (228, 2), (229, 2), (256, 16), (257, 16), (259, 18)],
)
def test_the_crop_offset_is_rounded_halves_to_even(length, start):
    """0.5 becomes 0, 1.5 becomes 2, 2.5 becomes 2."""
    assert crop_range(length, 224) == range(start, start + 224)


def test_a_resize_below_the_crop_is_padded_black():
    image = np.full((10, 10, 3), 255, np.uint8)
    result = preprocess(image, Preprocess(resize=3, crop=6))
    assert result[1:4, 1:4].min() == 255
    assert result.sum() == 9 * 3 * 255


def test_an_image_of_the_right_size_comes_back_as_a_new_writeable_array():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    copy = image.copy()
    result = preprocess(image, Preprocess(8, 8))
    np.testing.assert_array_equal(result, image)
    result[:] = 0
    np.testing.assert_array_equal(image, copy)


def test_views_and_read_only_arrays_are_fine():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    spec = Preprocess(12, 10)
    turned = image.transpose(1, 0, 2)
    turned.flags.writeable = False
    np.testing.assert_array_equal(preprocess(turned, spec), preprocess(turned.copy(), spec))


thin_specs = st.builds(
    Preprocess,
    resize=st.integers(1, 40),
    crop=st.integers(1, 60),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 12), st.integers(101, 250), st.booleans(), thin_specs, st.integers(0, 2**32 - 1))
def test_a_thin_image_equals_a_plain_resize_and_crop(side, times, tall, spec, seed):
    """Of a strip only the crop is computed, enlarged or shrunk, lying or standing: the same bytes."""
    shape = (side * times, side, 3) if tall else (side, side * times, 3)
    image = np.random.default_rng(seed).integers(0, 2, shape, np.uint8) * 255
    np.testing.assert_array_equal(preprocess(image, spec), torchvisions(image, spec))


@pytest.mark.parametrize("shape", [(1, 300, 3), (300, 1, 3), (2, 450, 3)])
@pytest.mark.parametrize("spec", [Preprocess(256, 224), Preprocess(303, 288, "bicubic")])
def test_a_thin_image_is_equal_at_the_sizes_of_networks(shape, spec):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(preprocess(image, spec), torchvisions(image, spec))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "opencv-bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_the_longest_strips_take_no_gigabytes(interpolation, mode):
    """1 x 65,535 pixels, of which the complete resize would be 13 GB: the crop shows the middle, and not one colour."""
    strip = np.random.default_rng(0).integers(0, 256, (65_535, 1, 3), np.uint8)
    spec = Preprocess(256, 224, interpolation, mode)
    for image in (strip, strip.transpose(1, 0, 2)):
        crop = preprocess(image, spec)
        assert crop.shape == (224, 224, 3)
        assert np.ptp(crop) > 10
    if mode == "shortest":                         # half a source pixel in each direction, and one beside it
        assert (np.ptp(preprocess(strip, spec), axis=1) == 0).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((4, 5, 3), np.uint16), r"uint16 \[4, 5, 3\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 \[3, 4, 5\]"),
    ],
)
def test_an_array_of_something_else_is_named(array, message):
    """Never a crop of four channels, nor a traceback."""
    with pytest.raises(ImageError, match=f"the array is {message}, not RGB uint8"):
        preprocess(array, Preprocess(8, 8))


def test_an_empty_array_is_an_error():
    with pytest.raises(ImageError, match="no pixels"):
        preprocess(np.zeros((0, 5, 3), np.uint8), Preprocess(256, 224))
