"""The work of decoding, from headers: what is bounded by pixels, and headers that only cost time."""

from __future__ import annotations

import io
import math
import struct
import time

import pytest
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images.png import SIGNATURE, pixel_chunks
from wideresnet.images.workload import MAX_CHUNKS, MAX_PPM_HEADER, MAX_SCANS, workload

RED = Image.new("RGB", (60, 40), "red")


def encoded(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    RED.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "BMP", "PPM"])
def test_the_work_of_ordinary_images_is_their_pixels(format):
    assert workload(encoded(format)) == 60 * 40


def test_more_scans_bits_and_chunks_are_more_work():
    assert workload(encoded("JPEG", progressive=True)) == 60 * 40 * (3 + 10) / 4
    assert 60 * 40 <= workload(encoded("PNG")) < 60 * 40 + 600
    assert workload(encoded("WebP")) == 4 * 60 * 40
    assert workload(encoded("PNG") + 100 * b"IDAT") > 50_000
    assert workload(encoded("JPEG", comment=b"a" * 60_000)) == 60 * 40


@pytest.mark.parametrize("format", ["GIF", "TIFF", "JPEG2000", "AVIF"])
def test_the_work_of_other_formats_is_unknown(format):
    assert workload(encoded(format)) == math.inf


@pytest.mark.parametrize(
    "data",
    [
        b"P3 2 2 255 " + b"0 " * 12,
        b"P6 2 2 200\n" + bytes(12),
        b"P6 2 2",
        b"BM" + bytes(9),
        encoded("JPEG")[:20],
        encoded("JPEG").replace(b"\xff\xc0", b"\xff\xc9"),
        b"\xff\xd8" + b"\xff" * 1000,
        b"\xff\xd8" + b"\xff\xe1\0\2" * 5000 + encoded("JPEG")[2:],
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 9, 9, 1, 8, 1),
        encoded("PNG")[:20],
    ],
    ids=["plain", "maximum", "short", "bmp", "cut", "arithmetic", "padding", "segments", "rle", "png"],
)
def test_the_work_of_what_is_read_in_python_or_invalid_is_unknown(data):
    assert workload(data) == math.inf


def test_bytes_that_are_no_image_are_no_work():
    assert workload(b"text") == workload(b"") == 0


def test_headers_that_only_cost_time_are_refused_at_once():
    jpeg = encoded("JPEG")
    scan = jpeg[jpeg.index(b"\xff\xda") : -2]
    started = time.perf_counter()
    assert workload(jpeg + scan * (MAX_SCANS - 1)) == 60 * 40 * (3 + MAX_SCANS) / 4
    with pytest.raises(ImageError, match="more than 1,000 scans"):
        workload(jpeg + scan * MAX_SCANS)
    with pytest.raises(ImageError, match="header of the PPM is longer than 65,536 bytes") as error:
        workload(b"P6 #" + b"a" * 20 * MAX_PPM_HEADER)
    assert error.value.hint == "remove its comments"
    assert workload(b"P6 #" + b"a" * 20_000 + b"\n2 3 255\n" + bytes(18)) == 6
    with pytest.raises(ImageError, match="more than 100,000 chunks"):
        pixel_chunks(SIGNATURE + b"\0\0\0\0tEXt\0\0\0\0" * (MAX_CHUNKS + 1))
    assert time.perf_counter() - started < 5
