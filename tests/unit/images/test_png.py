"""PNG files whose texts, profiles and animations Pillow stumbles over: their pixels are read."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wideresnet.errors import ImageError
from wideresnet.images.decode import decode
from wideresnet.images.png import SIGNATURE, pixel_chunks

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
LARGE = zlib.compress(bytes(3 << 20))              # Pillow's limit is 1 MB inflated


def chunk(name: bytes, content: bytes = b"", *, damaged: bool = False) -> bytes:
    check = zlib.crc32(name + content) ^ damaged
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(pixels: np.ndarray, before: bytes = b"", after: bytes = b"") -> bytes:
    """Of uint8 or uint16 [H, W, bands], with other chunks ``before`` and ``after`` the pixels."""
    height, width, bands = pixels.shape
    size = pixels.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(f">u{size}").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8 * size, _COLOUR_TYPES[bands], 0, 0, 0)
    chunks = [chunk(b"IHDR", head), before, chunk(b"IDAT", zlib.compress(rows)), after, chunk(b"IEND")]
    return SIGNATURE + b"".join(chunks)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"key\0\0" + LARGE),
        chunk(b"iTXt", b"key\0\1\0\0\0" + LARGE),
        chunk(b"iCCP", b"name\0\0" + LARGE),
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 20))) * 70,
        chunk(b"tEXt", b"key\0a damaged check", damaged=True),
        chunk(b"acTL", struct.pack(">II", 0, 0)),
    ],
    ids=["zTXt", "iTXt", "iCCP", "many", "checksum", "acTL"],
)
def test_what_is_no_pixel_does_not_keep_from_the_pixels(extra):
    """Also behind the pixels, and without a warning."""
    for data in (png(PIXELS, before=extra), png(PIXELS, after=extra)):
        assert np.array_equal(decode(data), PIXELS)


def test_transparency_and_orientation_are_kept():
    block = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHxxI", 0x0112, 3, 1, 6, 0)
    extra = chunk(b"tEXt", b"key\0text")
    key = chunk(b"tRNS", struct.pack(">HHH", *PIXELS[0, 0].tolist()))
    data = png(PIXELS, before=key + extra, after=chunk(b"eXIf", block))
    assert len(pixel_chunks(data)) == len(data) - len(extra)
    assert np.array_equal(decode(data, exif="transpose"), np.rot90(PIXELS, -1))
    assert decode(data, alpha="white")[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(decode(data, alpha="white")[1:], PIXELS[1:])


def test_a_file_without_such_chunks_is_not_copied():
    data = png(PIXELS)
    assert pixel_chunks(data) is data


@given(st.binary(max_size=200), st.integers(8, 400))
def test_damaged_files_stay_as_they_are_or_are_errors(noise, cut):
    data = png(PIXELS, before=chunk(b"tEXt", b"key\0text"))
    for damaged in (SIGNATURE + noise, data[:cut], data[:60] + noise + data[60:]):
        assert pixel_chunks(damaged).startswith(SIGNATURE)
        try:
            decode(damaged)
        except ImageError:
            continue


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bits_become_the_high_byte(bands):
    """Grey, grey with alpha, colours, colours with alpha."""
    deep = np.random.default_rng(0).integers(0, 65536, (9, 12, bands), np.uint16)
    expected = (deep >> 8)[..., : 1 if bands < 3 else 3]
    assert np.array_equal(decode(png(deep)), np.broadcast_to(expected, (9, 12, 3)))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_8_bit_values_in_16_bits_are_refused_rather_than_black(bands):
    deep = np.random.default_rng(0).integers(0, 256, (9, 12, bands), np.uint16)
    with pytest.raises(ImageError, match="in 8 bits") as caught:
        decode(png(deep))
    assert "gdal_translate" in caught.value.hint
