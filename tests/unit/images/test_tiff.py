"""TIFF files of instruments: shown as they are, or refused with what they hold; and nothing on stderr but our lines."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiffs import GREY, PALETTE, RGB, WHITE_IS_ZERO, tiff
from wideresnet.errors import ImageError
from wideresnet.images.decode import decode

LINE = np.linspace(0, 255, 40)
SHADES = ((LINE[:, None] + LINE[None]) / 2).astype(np.uint8)[..., None]
COLOURS = np.concatenate([SHADES, SHADES[::-1], SHADES[:, ::-1]], axis=2)
LEVELS = [257 * level for level in range(256)]


def bands(count: int, dtype: type = np.uint16) -> np.ndarray:
    return np.repeat(SHADES, count, axis=2).astype(dtype)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("array", "colour", "tags"),
    [
        (SHADES, GREY, {}),
        (255 - SHADES, WHITE_IS_ZERO, {}),
        (SHADES.astype(np.uint16) * 257, GREY, {}),
        (SHADES.astype(np.float32) / 255, GREY, {}),
        (1 - SHADES.astype(np.float32) / 255, WHITE_IS_ZERO, {}),
        (SHADES.astype(np.int32), GREY, {}),
        (SHADES.astype(np.int16), GREY, {}),
        (SHADES, PALETTE, {320: (3, LEVELS * 3)}),
        (SHADES, PALETTE, {320: (3, list(range(256)) * 3)}),
        (np.repeat(SHADES, 3, 2).astype(np.uint16) * 257, RGB, {}),
    ],
    ids=lambda value: f"{value.dtype}-{value.shape[2]}" if isinstance(value, np.ndarray) else None,
)
def test_what_can_be_shown_is_shown(array, colour, tags, order):
    """Of either byte order: levels of grey as they were meant, with a palette of 16 bits or (wrongly) of 8."""
    expected = np.repeat(SHADES, 3, axis=2).astype(int)
    result = decode(tiff(np.ascontiguousarray(array), colour, order=order, tags=tags))
    assert np.abs(result - expected).max() <= 1


def test_white_at_zero_in_16_bits_is_not_a_negative():
    array = 65535 - SHADES.astype(np.uint16) * 257
    assert (decode(tiff(array, WHITE_IS_ZERO))[..., :1] == SHADES).all()


def test_unsigned_32_bits_keep_their_sign():
    """Pillow's pixels are signed, so that the upper half would be negative."""
    assert (decode(tiff(SHADES.astype(np.uint32)))[..., :1] == SHADES).all()
    with pytest.raises(ImageError, match="uint32 values from 0 to 4278190080"):
        decode(tiff(SHADES.astype(np.uint32) << 24))


def test_12_bits_are_scaled_from_12():
    """Two values in three bytes: 4095 is white, and not an eighth."""
    values = np.array([[0, 16, 2048, 4095]])
    raw = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in values.reshape(-1, 2).tolist())
    data = tiff(np.zeros((1, 4, 1), np.uint8), tags={258: (3, [12])}, raw=raw)
    assert decode(data)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_spread_over_8(bits):
    data = tiff(np.zeros((1, 8 // bits, 1), np.uint8), tags={258: (3, [bits])}, raw=b"\xf0")
    assert set(decode(data)[0, :, 0].tolist()) == {0, 255}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(bands(2)), "2 bands of uint16 marked as grey (40 x 40 pixels)"),
        (tiff(bands(3)), "3 bands of uint16 marked as grey"),
        (tiff(bands(5)), "5 bands of uint16 marked as grey"),
        (tiff(bands(13)), "13 bands of uint16 marked as grey"),
        (tiff(bands(3, np.float32), RGB), "3 bands of float32 marked as RGB"),
        (tiff(bands(3, np.uint8)), "3 bands of uint8 marked as grey"),
        (tiff(bands(1, np.float64)), "1 band of float64 marked as grey"),
        (tiff(bands(1, np.uint16), PALETTE, tags={320: (3, [0] * 9)}), "1 band of uint16 marked as palette"),
        (tiff(bands(1, np.int32), WHITE_IS_ZERO), "1 band of int32 marked as white at zero"),
        (tiff(bands(3) * 257, RGB, planar=True), "3 bands of uint16 marked as RGB, each band by itself"),
        (tiff(SHADES, tags={259: (3, [34887])}), "1 band of uint8 marked as grey, compressed by method 34887"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_described(data, message):
    """Of a complete file never "damaged", and not read wrongly: its bands, their type, and a command."""
    with pytest.raises(ImageError) as caught:
        decode(data)
    assert message in caught.value.message
    assert "damaged" not in caught.value.message
    assert "gdal_translate" in caught.value.hint


@pytest.mark.parametrize(("count", "dtype"), [(5, np.uint16), (13, np.uint16), (1, np.float64)])
def test_the_same_cut_short_is_damaged(count, dtype):
    with pytest.raises(ImageError, match="damaged TIFF"):
        decode(tiff(bands(count, dtype))[:-1])


@pytest.mark.parametrize("bits", [8, 16])
def test_bands_by_themselves_are_read_in_8_bits(bits):
    """Without compression Pillow takes 16 bits for 8."""
    array = (COLOURS.astype(np.uint16) * 257) if bits == 16 else COLOURS
    planar = tiff(np.ascontiguousarray(array), RGB, planar=True)
    if bits == 8:
        assert np.array_equal(decode(planar), COLOURS)
    else:
        with pytest.raises(ImageError, match="each band by itself"):
            decode(planar)


def test_a_cameras_raw_file_is_not_answered_by_its_preview():
    """DNG, NEF and others are TIFF files whose first image is a thumbnail."""
    dng = tiff(COLOURS, RGB, tags={50706: (1, [1, 4, 0, 0])})
    nef = tiff(COLOURS, RGB, tags={254: (4, [1]), 330: (4, [8])})
    sensor = tiff(bands(1), 32803)
    for data in (dng, nef, sensor):
        with pytest.raises(ImageError, match="a camera's raw data") as caught:
            decode(data)
        assert "darktable-cli" in caught.value.hint
    assert np.array_equal(decode(tiff(COLOURS, RGB, tags={254: (4, [0]), 330: (4, [8])})), COLOURS)


def test_16_bit_colours_of_which_nothing_would_be_left_are_refused():
    """8-bit values in 16 bits, as NumPy users save them, come out all black in Pillow."""
    with pytest.raises(ImageError, match="16-bit values from 0 to 255: in 8 bits nothing would be left"):
        decode(tiff(COLOURS.astype(np.uint16), RGB))
    assert np.array_equal(decode(tiff(COLOURS.astype(np.uint16) * 257, RGB)), COLOURS)


def damaged_tiffs(folder: Path) -> list[Path]:
    """Files that make Pillow warn and log, and libtiff write to stderr."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    files = {"thirteen": tiff(bands(13))}
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        buffer = io.BytesIO()
        image.save(buffer, "TIFF", compression=compression)
        data = bytearray(buffer.getvalue())
        (offset,) = struct.unpack_from("<I", data, 4)
        position = 8 if offset > 5000 else len(data) - 6000
        data[position + 100 : position + 3000] = bytes(reversed(data[position + 100 : position + 3000]))
        files[compression] = bytes(data)
    tags = bytearray(tiff(COLOURS, RGB, tags={34665: (4, [60_000]), 305: (1, list(b"a long enough text"))}))
    at = tags.index(struct.pack("<HH", 305, 1))
    tags[at + 4 : at + 8] = struct.pack("<I", 2**20)
    files["tags"] = bytes(tags)
    for name, content in files.items():
        (folder / f"{name}.tif").write_bytes(content)
    return [folder / f"{name}.tif" for name in files]


@pytest.mark.skipif(sys.platform == "win32", reason="libtiff is inside Pillow there, out of reach")
def test_neither_pillow_nor_libtiff_writes_to_stderr(tmp_path):
    """Warnings, log records without a handler, and messages of the C library past Python."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom wideresnet.errors import ImageError\n"
        "from wideresnet.images.decode import decode\n"
        "for name in sys.argv[1:]:\n    try:\n        decode(Path(name))\n"
        "    except ImageError as error:\n        print(error)\n"
    )
    files = damaged_tiffs(tmp_path)
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, *map(str, files)], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    assert "13 bands of uint16" in run.stdout
    assert "damaged" in run.stdout
