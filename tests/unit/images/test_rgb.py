"""What numbers of every type become: brightness in 8 bits, or a refusal that says what they are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageMode

from wideresnet.errors import ImageError
from wideresnet.images.rgb import eight_bits, to_rgb

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (8, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP], axis=-1)
MODES = [
    "1", "L", "I", "F", "P", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBa", "LA", "La", "PA",
    "I;16", "I;16L", "I;16B", "I;16N",
]  # fmt: skip


def image_of(mode: str) -> Image.Image:
    """An image of any mode that is not of one colour."""
    colours = Image.fromarray(COLOURS)
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (64, 8), (RAMP.astype(np.uint16) * 257).astype(order).tobytes())
    if mode == "F":                                # fractions, as its readers have to give
        return Image.fromarray((RAMP / 255).astype(np.float32))
    if mode == "I":
        return Image.fromarray(RAMP.astype(np.int32) * 257)
    if mode == "LAB":
        return Image.merge("LAB", colours.split())
    ways = {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA")}
    for step in ways.get(mode, (mode,)):
        colours = colours.convert(step)
    return colours


@pytest.mark.parametrize("alpha", ["drop", "white"])
@pytest.mark.parametrize("mode", MODES)
def test_no_mode_becomes_one_colour(mode: str, alpha: str) -> None:
    """An image of every mode that Pillow has keeps its content, with and without a look at transparency."""
    image = image_of(mode)
    assert image.mode == mode
    rgb = to_rgb(image, alpha)                     # type: ignore[arg-type]
    assert (rgb.mode, rgb.size) == ("RGB", (64, 8))
    assert np.asarray(rgb).std() > 5


def test_the_table_has_every_mode_of_pillow() -> None:
    for mode in MODES:
        assert ImageMode.getmode(mode).mode == mode
    assert set(Image.MODES) <= set(MODES)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 255, 256, 32768, 65535], np.uint16), [0, 0, 1, 128, 255]),
        (np.array([0, 0], np.uint16), [0, 0]),
        (np.array([40000, 40000], np.uint16), [156, 156]),
        (np.array([0, 7, 255], np.int16), [0, 7, 255]),
        (np.array([0, 7, 255], np.int32), [0, 7, 255]),
        (np.array([0, 7, 255], np.uint32), [0, 7, 255]),
        (np.array([0, 100, 127], np.int8), [0, 100, 127]),
        (np.array([0.0, 0.25, 0.5, 1.0], np.float32), [0, 64, 128, 255]),
        (np.array([0.5, 1.0], np.float16), [128, 255]),
        (np.array([9], np.uint8), [9]),
    ],
)
def test_brightness_by_type_and_range(values: NDArray[np.generic], expected: list[int]) -> None:
    result = eight_bits(values)
    assert result.dtype == np.uint8
    assert result.tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([300.0, 2850.5], np.float32), "float32 values from 300 to 2850.5, outside 0..1"),
        (np.array([-0.01, 1.0], np.float32), "float32 values from -0.01 to 1, outside 0..1"),
        (np.array([0.0, 1.02], np.float32), "float32 values from 0 to 1.02, outside 0..1"),
        (np.array([0.0, 255.0], np.float32), "float32 values from 0 to 255, outside 0..1"),
        (np.array([-5000, 20500], np.int16), "int16 values from -5000 to 20500, outside 0..255"),
        (np.array([0, 40000], np.int32), "int32 values from 0 to 40000, outside 0..255"),
        (np.array([0, 4278190080], np.uint32), "uint32 values from 0 to 4278190080, outside 0..255"),
        (np.array([-128, 127], np.int8), "int8 values from -128 to 127, outside 0..255"),
        (np.array([0, 255], np.uint16), "16-bit values from 0 to 255: in 8 bits nothing would be left"),
        (np.array([0, 4095], np.uint16), "16-bit values from 0 to 4095: in 8 bits it would be nearly black"),
        (np.array([0, 1023], np.uint16), "16-bit values from 0 to 1023: in 8 bits it would be nearly black"),
        (np.array([30000, 30100], np.uint16), "16-bit values from 30000 to 30100"),
    ],
)
def test_other_numbers_are_refused_with_their_range(values: NDArray[np.generic], message: str) -> None:
    """The hint is a command with that range."""
    with pytest.raises(ImageError, match=message) as caught:
        eight_bits(values)
    match = re.search(r"from (\S+) to ([-\d.]*\d)", message)
    assert match is not None
    assert f"-scale {match[1]} {match[2]} 0 255" in caught.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value: float) -> None:
    with pytest.raises(ImageError, match=r"of the image's 1,000 float32 values 2 are not finite"):
        eight_bits(np.array([value, value, *range(998)], np.float32))


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_two_values_of_16_bits_never_become_one_in_silence(a: int, b: int) -> None:
    values = np.array([a, b], np.uint16)
    if (a != b and abs(a - b) < 256) or 0 < max(a, b) < 4096:
        with pytest.raises(ImageError):
            eight_bits(values)
    else:
        assert eight_bits(values).tolist() == [a // 256, b // 256]
