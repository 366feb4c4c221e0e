"""Numbers of fewer bits than their storage, and transparency by a key: brightness is right, or refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from unit.images.test_formats import jxl
from unit.images.test_png import chunk, png
from wideresnet.errors import ImageError
from wideresnet.images.decode import decode

GREY = np.random.default_rng(0).integers(0, 256, (9, 12, 1), np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def sixteen(pixels: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(pixels * ((2**bits - 1) / 255)).astype(np.uint16)


def tiff(pixels: np.ndarray, highest: int, method: int, order: str = "<") -> bytes:
    """A TIFF of 16 bits with the tag MaxSampleValue, uncompressed or (method 8) deflated."""
    import zlib

    height, width, bands = pixels.shape
    data = pixels.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if method == 8 else data
    tags = {256: (3, width), 257: (3, height), 259: (3, method), 262: (3, 2 if bands == 3 else 1),
            273: (4, 8), 277: (3, bands), 278: (3, height), 279: (4, len(data))}
    if highest:
        tags[281] = (3, highest)
    tags[258] = (3, 16)
    where = 8 + len(data)
    entries = b""
    for tag, (kind, value) in sorted(tags.items()):
        body = struct.pack(f"{order}I", value) if kind == 4 else struct.pack(f"{order}HH", value, 0)
        count = 1
        if tag in (258, 281) and bands == 3:
            body, count = struct.pack(f"{order}I", where if tag == 258 else where + 6), 3
        entries += struct.pack(f"{order}HHI", tag, kind, count) + body
    extra = struct.pack(f"{order}6H", 16, 16, 16, *[highest] * 3)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, where + 12)
    return head + data + extra + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
@pytest.mark.parametrize("frames", [1, 2])
def test_jpeg_xl_of_few_bits_is_spread_over_8(bits, frames):
    values = COLOURS >> (8 - bits)
    pixels = values if frames == 1 else np.stack([values, values[::-1]])
    expected = np.rint(values * (255 / (2**bits - 1)))
    assert np.array_equal(decode(jxl(pixels, bitspersample=bits)), expected)


@pytest.mark.parametrize("values", [COLOURS, COLOURS / 255 - 0.3, COLOURS * 100.0])
def test_floats_of_jpeg_xl_beyond_0_to_1_are_refused(values):
    with pytest.raises(ImageError, match=r"float32 values from .* outside 0\.\.1") as caught:
        decode(jxl(values.astype(np.float32)))
    assert "-scale" in caught.value.hint


def test_floats_of_jpeg_xl_that_are_not_finite_are_refused():
    values = (COLOURS / 255).astype(np.float32)
    values[0, 0] = np.nan
    with pytest.raises(ImageError, match="not finite"):
        decode(jxl(values))


def test_an_overshoot_of_compression_is_cut_off():
    assert np.array_equal(decode(jxl((COLOURS / 255 * 1.1 - 0.05).astype(np.float32))),
                          np.rint((COLOURS / 255 * 1.1 - 0.05).astype(np.float32).clip(0, 1) * 255))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_key_of_grey_is_laid_on_white(bits):
    """Of every depth: exactly the pixels of the key, none that merely share its high byte."""
    values = np.arange(8, dtype=np.uint16).reshape(2, 4) % min(2**bits, 8) * (8191 if bits == 16 else 1)
    key = int(values[0, 1])
    if bits == 16:
        values[0, 2] = key ^ 1
    rows = b"".join(
        b"\0" + (row.astype(">u2").tobytes() if bits == 16 else
                 int("".join(f"{v:0{bits}b}" for v in row).ljust(8 if bits < 2 else 4 * bits, "0"), 2)
                 .to_bytes(max(1, bits * 4 // 8), "big"))
        for row in values)
    import zlib

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, bits, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", key)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    dropped = decode(data)
    expected = np.where((values == key)[..., None], 255, dropped)
    assert np.array_equal(decode(data, alpha="white"), expected)
    assert not np.array_equal(dropped, expected) or bits == 1


def test_a_key_of_16_bit_colours_is_compared_in_16_bits():
    deep = np.random.default_rng(0).integers(0, 65536, (9, 12, 3), np.uint16)
    deep[0, 1] = deep[0, 0] ^ 1
    data = png(deep, before=chunk(b"tRNS", struct.pack(">3H", *deep[0, 0].tolist())))
    expected = (deep >> 8).astype(np.uint8)
    assert np.array_equal(decode(data), expected)
    expected[0, 0] = 255
    assert np.array_equal(decode(data, alpha="white"), expected)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("pixels", [GREY, COLOURS], ids=["grey", "colours"])
def test_the_range_that_a_file_states_counts(pixels, bits):
    """sBIT of PNG, MaxSampleValue of TIFF, of either byte order, compressed or not."""
    values = sixteen(pixels, bits)
    expected = np.broadcast_to(values >> (bits - 8), (9, 12, 3))
    files = [png(values, before=chunk(b"sBIT", bytes([bits] * pixels.shape[2])))]
    files += [tiff(values, 2**bits - 1, method, order) for method in (1, 8) for order in "<>"]
    for data in files:
        assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize("bits", [9, 10, 12])
@pytest.mark.parametrize("pixels", [GREY, COLOURS], ids=["grey", "colours"])
def test_without_a_stated_range_few_bits_in_16_are_refused(pixels, bits):
    values = sixteen(pixels, bits)
    for data in (png(values), tiff(values, 0, 1), tiff(values, 0, 8), tiff(values, int(values.max()) - 7, 8, ">")):
        with pytest.raises(ImageError, match=f"16-bit values from {values.min()} to {values.max()}: in 8") as caught:
            decode(data)
        assert f"-scale 0 {2**bits - 1} 0 255" in caught.value.hint


def test_few_bits_in_16_with_alpha_and_in_ppm_are_refused():
    for bands in (2, 4):
        pixels = np.dstack([sixteen(COLOURS[..., : bands - 1], 12), np.full((9, 12), 65535, np.uint16)])
        with pytest.raises(ImageError, match="nearly black"):
            decode(png(pixels))
        with pytest.raises(ImageError, match="nearly black"):
            decode(jxl(pixels))
    grey = np.dstack([sixteen(GREY, 12), np.full((9, 12), 4095, np.uint16)])
    with pytest.raises(ImageError, match="colours of 12 bits in 16, of which the low byte cannot be read"):
        decode(png(grey, before=chunk(b"sBIT", b"\x0c\x0c")))
    body = sixteen(COLOURS, 12).astype(">u2").tobytes()
    with pytest.raises(ImageError, match="nearly black"):
        decode(b"P6 12 9 65535\n" + body)
    assert np.abs(decode(b"P6 12 9 4095\n" + body).astype(int) - COLOURS).max() <= 1


def test_dark_images_whose_range_is_stated_and_black_ones_are_read():
    dark = np.arange(108).reshape(9, 12).astype(">u2").tobytes()
    assert decode(b"P5 12 9 4095\n" + dark).max() == 107 * 65535 // 4095 >> 8
    for bands in (1, 3):
        assert not decode(png(np.zeros((9, 12, bands), np.uint16))).any()
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((9, 12), np.uint16)).save(buffer, "TIFF")
    assert not decode(buffer.getvalue()).any()
