"""Images as Python callers pass them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.decode import decode
from wideresnet.images.inputs import input_items

RED = np.full((4, 6, 3), (255, 0, 0), np.uint8)


def turned_jpeg() -> bytes:
    """A JPEG of 6 x 4 pixels that its EXIF block turns by 90 degrees."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(RED).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_one_image_or_several_of_any_kind() -> None:
    pil = Image.fromarray(RED)
    assert [item.path for item in input_items([RED, b"data", pil, "a.png", Path("b.png")])] == [
        "image 0", "image 1", "image 2", "a.png", "b.png"
    ]  # fmt: skip
    for single in (RED, b"data", pil, "a.png", Path("a.png")):
        assert len(list(input_items(single))) == 1
    assert len(list(input_items(np.stack([RED, RED])))) == 2
    assert list(input_items(())) == []


@pytest.mark.parametrize("exif", ["ignore", "transpose"])
def test_a_pillow_image_is_decoded_as_its_file(exif) -> None:
    data = turned_jpeg()
    (item,) = input_items(Image.open(io.BytesIO(data)), exif)
    assert np.array_equal(item.source, decode(data, exif=exif))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_every_mode_becomes_rgb_and_the_image_stays_as_it_was(mode) -> None:
    image = Image.fromarray(RED).convert(mode)
    (item,) = input_items(image)
    assert (item.source.dtype, item.source.shape, image.mode) == (np.uint8, (4, 6, 3), mode)


def test_transparency_is_composited_on_white_if_asked() -> None:
    image = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    (dropped,), (white,) = input_items(image), input_items(image, alpha="white")
    assert (dropped.source[0, 0].tolist(), white.source[0, 0].tolist()) == ([255, 0, 0], [255, 255, 255])


def test_what_cannot_be_converted_is_an_image_error() -> None:
    closed = Image.open(io.BytesIO(turned_jpeg()[:-4]))
    with pytest.raises(ImageError, match="image 0: the Pillow image cannot be read: image file is truncated"):
        list(input_items(closed))
    with pytest.raises(ImageError, match=r"image 0: .*outside 0..1"):
        list(input_items(Image.fromarray(np.full((2, 2), 7, np.float32))))


@pytest.mark.parametrize(("images", "name"), [(7, "the argument"), ([RED, 7], "image 1"), (None, "the argument")])
def test_an_object_that_is_no_image_is_a_config_error(images, name) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not an image"):
        list(input_items(images))
