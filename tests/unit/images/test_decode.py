from __future__ import annotations

import io
import json
import os
import struct
import sys
import threading
import warnings
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from shared import SHARED, needs_shared
from wideresnet.errors import ImageError
from wideresnet.images.decode import Limits, decode, open_image

FIXTURES = Path(__file__).parents[2] / "golden" / "fixtures"
IMAGES = SHARED / "pictures"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and then stops."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (chunk, idat)
    )


@pytest.mark.parametrize("path", sorted(FIXTURES.iterdir()), ids=lambda path: path.name)
def test_every_fixture_is_rgb_uint8(path):
    """Files and bytes give the same [H, W, 3] uint8, and no warning (pytest makes them errors)."""
    image = decode(path)
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    np.testing.assert_array_equal(decode(path.read_bytes()), image)


def test_16_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    expected = [[[v] * 3 for v in (0, 0, 1, 128, 255)]]
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(Image.fromarray(grey), kind)).tolist() == expected


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"P5 3 1 65535\n", struct.pack(">3H", 0, 32768, 65535), [0, 128, 255]),
        (b"P5 3 1 4095\n", struct.pack(">3H", 0, 2048, 4095), [0, 128, 255]),
        (b"P2 3 1 65535\n", b"0 32768 65535", [0, 128, 255]),
        (b"Pf 3 1 -1.0\n", struct.pack("<3f", 0, 0.5, 1), [0, 128, 255]),
        (b"Pf 3 1 1.0\n", struct.pack(">3f", 0.2, 0, 1), [51, 0, 255]),
        (b"P4 8 1\n", b"\xf0", [0] * 4 + [255] * 4),
    ],
)
def test_portable_maps_of_every_depth(head, body, expected):
    assert decode(head + body)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"P5 2 1 65535\n" + struct.pack(">2H", 3, 200), "16-bit values from 3 to 200"),
        (b"P6 2 1 65535\n" + struct.pack(">6H", 0, 0, 0, 200, 50, 9), "16-bit colours"),
        (b"Pf 2 1 -1.0\n" + struct.pack("<2f", 300, 2850), "float32 values from 300 to 2850"),
        (b"Pf 2 1 -1.0\n" + struct.pack("<2f", 0, float("nan")), "1 are not finite"),
    ],
)
def test_portable_maps_that_hold_no_brightness_say_what_they_hold(data, message):
    with pytest.raises(ImageError, match=message) as caught:
        decode(data)
    assert caught.value.hint


def test_jpeg_2000_of_more_bits_than_pillow_reads_rightly_is_refused():
    """Grey of 16 bits is read; of colours Pillow makes white black, and five bands it calls malformed."""
    grey = np.array([[0, 32768, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(grey), "JPEG2000"))[0, :, 0].tolist() == [0, 128, 255]
    data = bytearray(encoded(Image.new("RGB", (4, 4), "white"), "JPEG2000", no_jp2=True))
    assert (decode(bytes(data)) == 255).all()
    depth = data.index(b"\xff\x51") + 40
    for position, value, message in ((depth, 15, r"16 bits \(bands: 3\)"), (depth - 1, 5, r"8 bits \(bands: 5\)")):
        changed = data.copy()
        changed[position] = value
        with pytest.raises(ImageError, match=f"holds numbers of {message}") as caught:
            decode(bytes(changed))
        assert "gdal_translate" in caught.value.hint


def test_a_complete_file_of_another_kind_is_not_called_damaged():
    """A JPEG of 12 bits."""
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(ImageError, match="a JPEG image of an unsupported kind: cannot handle 12-bit") as caught:
        decode(bytes(data))
    assert caught.value.hint == "convert it first: magick IN OUT.png"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_alpha_is_dropped_or_laid_on_white(kind):
    """Dropped, the colours count as they are stored, also where nothing of them would be seen."""
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    image.paste((10, 200, 30, 255), (0, 0, 8, 16))
    image.paste((200, 40, 120, 128), (8, 0, 16, 8))
    options = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    data = encoded(image, kind, **options.get(kind, {}))
    close = 3 if kind == "AVIF" else 0
    assert np.abs(decode(data)[2, [2, 13]].astype(int) - [(10, 200, 30), (200, 40, 120)]).max() <= close
    assert decode(data)[13, 13].max() <= close
    white = decode(data, alpha="white").astype(int)
    half = [255 + (c - 255) * 128 // 255 for c in (200, 40, 120)]
    assert np.abs(white[[2, 2, 13], [2, 13, 13]] - [(10, 200, 30), half, (255, 255, 255)]).max() <= close + 1


@pytest.mark.parametrize(("mode", "kind", "transparency"), [
    ("P", "PNG", 0), ("P", "GIF", 0), ("RGB", "PNG", (0, 0, 0)), ("L", "PNG", 0), ("LA", "PNG", None),
])  # fmt: skip
def test_every_other_form_of_transparency_counts(mode, kind, transparency):
    """A colour of a palette, one of all colours, grey with alpha."""
    image = Image.new("LA" if mode == "LA" else "L", (8, 8), (0, 0) if mode == "LA" else 0)
    image.paste((255, 255) if mode == "LA" else 90, (0, 0, 4, 8))
    data = encoded(image.convert(mode), kind, **({} if transparency is None else {"transparency": transparency}))
    assert (decode(data)[:, 4:] == 0).all()
    assert (decode(data, alpha="white")[:, 4:] == 255).all()
    assert np.array_equal(decode(data)[:, :4], decode(data, alpha="white")[:, :4])


def test_without_transparency_white_changes_nothing():
    for name in ("tall.jpg", "rgb.png", "cmyk.jpg", "palette.png", "grey_16bit.png"):
        assert np.array_equal(decode(FIXTURES / name), decode(FIXTURES / name, alpha="white"))


def test_an_animation_gives_its_first_frame():
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        data = encoded(red, kind, save_all=True, append_images=[blue], **options)
        assert (decode(data) == (255, 0, 0)).all(), kind


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_transpose_turns_as_pillow_does(turn, kind):
    """All eight orientations, in every format that carries EXIF; "ignore" leaves the pixels alone."""
    pixels = np.random.default_rng(turn).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(Image.fromarray(pixels), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(
            decode(data, exif="transpose"), ImageOps.exif_transpose(image).convert("RGB")
        )
        np.testing.assert_array_equal(decode(data), image.convert("RGB"))


def test_pillow_turns_tiff_itself_and_we_do_not_turn_it_twice():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.new("RGB", (7, 5)), "TIFF", exif=exif)
    assert decode(data).shape == decode(data, exif="transpose").shape == (7, 5, 3)


def test_damaged_exif_reads_as_upright_and_silently():
    """Pillow itself warns about this file."""
    path = FIXTURES / "broken_exif.jpg"
    with pytest.warns(UserWarning, match="Corrupt EXIF data"), Image.open(path):
        pass
    assert decode(path, exif="transpose").shape == (73, 97, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"<html><body>404</body></html>", "an HTML page"),
        (b"\xef\xbb\xbf<!DOCTYPE html>\n<html>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<!-- x --><svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"this is not an image\n", "text"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "a Canon camera's raw data"),
        (b"II*\0\x10\0\0\0CR\2\0", "a Canon camera's raw data"),
        (b"IIU\0\x18\0\0\0", "a Panasonic camera's raw data"),
        (b"IIRO\x08\0\0\0", "an Olympus camera's raw data"),
        (b"FUJIFILMCCD-RAW 0201", "a Fujifilm camera's raw data"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\xff\xd8\xff\xf7\0\x0b", "a JPEG-LS image"),
        (b"MM\0\x2b\0\x08\0\0", "a BigTIFF of big-endian numbers"),
        (b"P7\nWIDTH 2\n", "a PAM image"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "a PFM image of colours"),
        (b"\x93NUMPY\1\0v\0", "a NumPy array"),
        (bytes(128) + b"DICM", "a DICOM image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\0" * 100, "zero bytes"),
        (bytes(range(128, 256)) * 9, "data of an unknown kind"),
    ],
)
def test_what_is_no_image_is_named(data, message):
    """The message says what the bytes are, the hint what to do."""
    with pytest.raises(ImageError, match=message) as caught:
        decode(data)
    assert caught.value.hint


@pytest.mark.parametrize(
    "name", ["rgb.png", "tall.jpg", "still.webp", "animated.gif", "bitmap.bmp", "lzw.tif"]
)
@pytest.mark.parametrize("fraction", [0.02, 0.2, 0.4])
def test_a_file_cut_short_is_an_error(name, fraction):
    """Never grey filler counted as an image."""
    data = (FIXTURES / name).read_bytes()
    with pytest.raises(ImageError):
        decode(data[: max(4, int(len(data) * fraction))])


def test_noise_behind_every_signature_is_an_error():
    """Whatever Pillow's readers stumble over comes out as ImageError, without a warning."""
    rng = np.random.default_rng(0)
    signatures = [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\1\0\0WEBPVP8X", b"BM"]
    signatures += [
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"P6\n",
        b"\xff\x4f\xff\x51",
        b"\0\0\0\x1cftypavif",
    ]
    for signature in signatures:
        for size in (0, 30, 500):
            with pytest.raises(ImageError):
                decode(signature + rng.bytes(size))


def test_damaged_bytes_give_an_image_or_an_image_error():
    """Flipping bytes anywhere in any fixture raises nothing else and warns of nothing; either outcome is common."""
    rng = np.random.default_rng(1)
    outcomes = Counter[str]()
    for path in sorted(FIXTURES.iterdir()):
        original = path.read_bytes()
        for _ in range(12):
            damaged = bytearray(original)
            for position in rng.integers(0, len(damaged), 8):
                damaged[position] = rng.integers(256)
            try:
                pixels = decode(bytes(damaged), exif="transpose", limits=Limits(pixels=10**6))
            except ImageError:
                outcomes["refused"] += 1
            else:
                assert (pixels.dtype, pixels.ndim, pixels.shape[-1]) == (np.uint8, 3, 3), path
                outcomes["decoded"] += 1
    total = outcomes.total()
    assert outcomes["decoded"] > total / 10, outcomes
    assert outcomes["refused"] > total / 10, outcomes


def test_a_bomb_is_refused_by_its_header():
    """3.6 gigapixels in 100 bytes: refused, and the message shows the size and the limit."""
    with pytest.raises(ImageError, match=r"60,000 x 60,000 pixels, more than the limit of 178,956,970"):
        decode(png_header(60_000, 60_000))


def test_sizes_that_pillow_warns_of_are_decoded_in_silence():
    """Between Pillow's warning and its limit; the warning would be an error here, and not this one."""
    with pytest.raises(ImageError, match="damaged PNG image: image file is truncated"):
        decode(png_header(10_000, 10_000))


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0II*\0"}])
def test_the_size_of_a_webp_is_known_before_its_canvas_is_made(options):
    data = encoded(Image.new("RGB", (300, 200)), "WEBP", **options)
    assert decode(data, limits=Limits(pixels=60_000)).shape == (200, 300, 3)
    with pytest.raises(ImageError, match="300 x 200"):
        decode(data, limits=Limits(pixels=59_999))


def test_limits_of_bytes_hold_for_files_and_bytes():
    path = FIXTURES / "rgb.png"
    size = path.stat().st_size
    decode(path, limits=Limits(bytes=size))
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="larger than the limit"):
            decode(source, limits=Limits(bytes=size - 1))


def test_paths_that_cannot_be_read_are_image_errors(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        decode(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="a folder"):
        decode(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        decode(tmp_path / ("x" * 300))
    with pytest.raises(ImageError, match="cannot be read"):
        decode(tmp_path / "zero\0byte")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_image_error(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes((FIXTURES / "rgb.png").read_bytes())
    path.chmod(0)
    with pytest.raises(ImageError, match="cannot be read: Permission denied"):
        decode(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
def test_a_pipe_is_read_to_its_end(tmp_path):
    """``wrn classify <(curl ...)``"""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=((FIXTURES / "tall.jpg").read_bytes(),))
    writer.start()
    assert decode(pipe).shape == (83, 61, 3)
    writer.join()


def test_pillows_and_pythons_state_stay_as_they_were():
    """No global of Pillow and no warning filter changes, also with many threads at once."""

    def state():
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)

    before = state()
    paths = sorted(FIXTURES.iterdir()) * 4
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda path: decode(path, exif="transpose").shape, paths))
    assert shapes[: len(paths) // 4] * 4 == shapes
    assert state() == before


def test_the_image_is_loaded_and_rgb():
    image = open_image(FIXTURES / "palette.png")
    assert (image.mode, image.size) == ("RGB", (97, 73))


@needs_shared("pictures", "good")
def test_every_good_image_reads_as_pillow_reads_it():
    """Real files in every awkward encoding; 16-bit grey apart, which Pillow clips to white."""
    for path in sorted((IMAGES / "good").iterdir()):
        image = decode(path)
        if path.name == "grey_16bit.png":
            assert 50 < image.mean() < 200
            continue
        with Image.open(path) as expected:
            np.testing.assert_array_equal(image, np.asarray(expected.convert("RGB")), err_msg=path.name)


@needs_shared("pictures", "good")
def test_real_photographs_are_turned_upright():
    upright = decode(IMAGES / "good" / "exif_orientation_3.jpg", exif="transpose")
    for turn in (6, 8):
        changed = decode(IMAGES / "good" / f"exif_orientation_{turn}.jpg", exif="transpose")
        assert not np.array_equal(changed, decode(IMAGES / "good" / f"exif_orientation_{turn}.jpg"))
        assert changed.shape == upright.shape


@needs_shared("pictures", "bad")
def test_every_bad_image_is_a_clear_error():
    expected = json.loads((IMAGES / "expected.json").read_text(encoding="utf-8"))["expected"]
    paths = sorted((IMAGES / "bad").iterdir())
    assert {f"bad/{path.name}" for path in paths} <= set(expected)
    for path in paths:
        with pytest.raises(ImageError) as caught:
            decode(path)
        assert caught.value.message
        assert caught.value.hint
