"""HEIC and JPEG XL through the extra "formats", and one sentence where it is missing."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images.decode import Limits, decode, open_image
from wideresnet.images.formats import jpeg_xl_size
from wideresnet.images.sniff import image_format

RAMP = np.linspace(0, 255, 48)
COLOURS = np.stack([np.tile(RAMP, (32, 1)), np.tile(RAMP[::-1], (32, 1)), np.full((32, 48), 90)], -1).astype(np.uint8)
# The heads of an iPhone's photograph and of a JPEG XL file, whose pixels are missing.
HEIC_HEAD, JXL_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\xff\x0a\xfa\x1f\x41\x91\x08\x06\x01\0"


def heic(mode: str = "RGB", pixels: np.ndarray = COLOURS, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra 'formats'")
    buffer = io.BytesIO()
    size = pixels.shape[1], pixels.shape[0]
    pillow_heif.encode(mode, size, pixels.tobytes(), buffer, quality=-1, chroma=444, **options)
    return buffer.getvalue()


def jxl(pixels: np.ndarray, **options: object) -> bytes:
    imagecodecs = pytest.importorskip("imagecodecs", reason="needs the extra 'formats'")
    return imagecodecs.jpegxl_encode(np.ascontiguousarray(pixels), lossless=True, **options)


@pytest.mark.parametrize(("data", "kind", "package"), [
    (HEIC_HEAD, "a HEIC image", "pillow_heif"), (JXL_HEAD, "a JPEG XL image", "imagecodecs"),
])  # fmt: skip
def test_without_the_package_each_file_says_what_to_install(monkeypatch, data, kind, package):
    """A failure of that file, so that a run goes on."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImageError, match=f"{kind} needs {package}, which is not installed") as caught:
        decode(data)
    assert caught.value.hint == "pip install 'wideresnet[formats]'"


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"])
def test_heic_is_known_by_its_brand(brand):
    assert image_format(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic") == "HEIC"


def test_avif_under_the_general_brand_is_avif():
    """As older encoders write it."""
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "AVIF")
    general = buffer.getvalue().replace(b"ftypavif", b"ftypmif1", 1)
    assert image_format(general) == "AVIF"
    assert np.array_equal(decode(general), decode(buffer.getvalue()))


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_of_8_and_10_bits(bits):
    pixels, mode = (COLOURS, "RGB") if bits == 8 else (COLOURS.astype(np.uint16) * 257, "RGB;16")
    result = decode(heic(mode, pixels))
    assert np.abs(result.astype(int) - COLOURS).max() <= 2


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("exif", ["ignore", "transpose"])
def test_heic_is_turned_once(turn, exif):
    """libheif turns the pixels; the EXIF block, which says it again, does not turn them back or further."""
    block = Image.Exif()
    block[0x0112] = turn
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, "PNG", exif=block)
    expected = decode(buffer.getvalue(), exif="transpose")
    result = decode(heic(exif=block.tobytes(), original_orientation=turn), exif=exif)
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected).max() <= 2


def test_heic_with_transparency_is_laid_on_white_if_asked():
    data = heic("RGBA", np.dstack([COLOURS, np.zeros((32, 48), np.uint8)]))
    assert np.abs(decode(data).astype(int) - COLOURS).max() <= 2
    assert (decode(data, alpha="white") == 255).all()


def test_heic_leaves_pillow_as_it_was_and_works_in_threads():
    before = dict(Image.OPEN)
    data = heic()
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: decode(data).tobytes(), range(32)))) == 1
    assert before == Image.OPEN


@pytest.mark.parametrize("make", [heic, lambda: jxl(COLOURS)], ids=["heic", "jxl"])
def test_limits_hold_before_decoding_and_a_cut_is_damage(make):
    data = make()
    with pytest.raises(ImageError, match="claims 48 x 32 pixels"):
        decode(data, limits=Limits(pixels=48 * 32 - 1))
    for fraction in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError, match="damaged"):
            decode(data[: int(fraction * len(data))])


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (COLOURS, {}),
        (COLOURS, {"usecontainer": True}),
        (np.stack([COLOURS, COLOURS[::-1]]), {}),
        (np.dstack([COLOURS, COLOURS[..., 0]]), {}),
        (COLOURS.astype(np.uint16) * 257, {}),
        (COLOURS.astype(np.uint16) << 4, {"bitspersample": 12}),
        (COLOURS.astype(np.uint16) << 2, {"bitspersample": 10}),
        ((COLOURS / 255).astype(np.float32), {}),
        ((COLOURS / 255).astype(np.float16), {}),
    ],
    ids=["8", "boxes", "animation", "alpha", "16", "12", "10", "f32", "f16"],
)
def test_jpeg_xl_of_every_depth(pixels, options):
    data = jxl(pixels, **options)
    assert image_format(data) == "JPEG XL"
    assert np.array_equal(decode(data), COLOURS)


def test_jpeg_xl_of_grey():
    grey = COLOURS[..., 0]
    assert np.array_equal(decode(jxl(grey)), np.repeat(grey[..., None], 3, 2))
    assert open_image(jxl(grey)).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (64, 48), (256, 256), (17, 3000), (300, 200), (16, 9), (513, 700)])
def test_the_size_of_a_jpeg_xl_is_in_its_head(size):
    """With every way of writing it: in eighths, by ratio, as two numbers."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for boxes in (False, True):
        assert jpeg_xl_size(jxl(pixels, effort=1, usecontainer=boxes)) == size


def test_noise_behind_their_signatures_is_an_error():
    rng = np.random.default_rng(0)
    for head in (HEIC_HEAD, b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"):
        for size in (0, 5, 300):
            with pytest.raises(ImageError):
                decode(head + rng.bytes(size), limits=Limits(pixels=10**6))
