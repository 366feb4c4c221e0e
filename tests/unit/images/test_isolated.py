"""Decoding in processes: the same pixels, within limits of time and memory, and whatever happens to a process."""

from __future__ import annotations

import io
import os
import signal
import struct
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wideresnet.errors import ImageError
from wideresnet.images import isolated
from wideresnet.images.decode import Limits
from wideresnet.images.isolated import decode_crops, decode_in_process, is_slow
from wideresnet.images.loader import load_batches, load_crop
from wideresnet.records import Item, Preprocess

pytestmark = pytest.mark.skipif("os.name == 'nt'", reason="Windows has no such limits: images are decoded in threads")
FIXTURES = Path(__file__).parents[2] / "golden/fixtures"
SPEC = Preprocess(40, 32)
SLOW = b"P6 4000 4000 254\n" + bytes(48_000_000)   # Pillow scales it pixel by pixel, in Python
LIMITS = Limits(seconds=0.2)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """A pool of one process, that ends with the test."""
    monkeypatch.setattr(isolated, "_pools", {})
    monkeypatch.setattr(isolated, "available_cpus", lambda: 1)
    yield
    if process := isolated._pool().get():
        process.end()


@pytest.mark.parametrize("name", ["rgb.png", "cmyk.jpg", "lzw.tif", "animated.gif", "still.webp", "orientation_6.jpg"])
def test_pixels_are_those_of_a_thread(name):
    data = (FIXTURES / name).read_bytes()
    for exif, reduced, spec in (("transpose", False, SPEC), ("ignore", True, replace(SPEC, alpha="white"))):
        specs = (spec, replace(spec, resize=24, crop=24))
        expected, size = decode_crops(data, specs, exif, reduced, Limits())
        crops, size_in_process = decode_in_process(data, specs, exif, reduced, Limits())
        for crop, wanted in zip(crops, expected, strict=True):
            np.testing.assert_array_equal(crop, wanted)
        assert size_in_process == size


def test_errors_are_those_of_a_thread():
    data = (FIXTURES / "lzw.tif").read_bytes()[:900]
    errors = []
    for decode in (decode_crops, decode_in_process):
        with pytest.raises(ImageError) as error:
            decode(data, [SPEC], "ignore", False, Limits())
        errors.append((error.value.message, error.value.hint))
    assert errors[0] == errors[1]


def test_the_limit_of_time_decides_what_is_slow():
    assert not is_slow(2**23, Limits(seconds=5))
    assert is_slow(2**24, Limits(seconds=5))
    assert is_slow(float("inf"), Limits())


def test_an_image_that_takes_too_long_is_an_error_and_the_next_one_is_decoded():
    started = time.perf_counter()
    with pytest.raises(ImageError, match=r"took longer than 0\.2 s") as error:
        load_crop(SLOW, SPEC, limits=LIMITS)
    assert error.value.hint == "save it as JPEG or PNG"
    assert time.perf_counter() - started < 10
    assert load_crop(FIXTURES / "lzw.tif", SPEC).shape == (32, 32, 3)


def test_in_a_folder_it_is_a_failure_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("wideresnet.images.loader.DEFAULT_LIMITS", LIMITS)
    (tmp_path / "slow.ppm").write_bytes(SLOW)
    paths = [FIXTURES / "rgb.png", tmp_path / "slow.ppm", FIXTURES / "cmyk.jpg"]
    (batch,) = load_batches([Item(path.name, path) for path in paths], SPEC, batch_size=3, threads=2)
    assert [item.path for item in batch.items] == ["rgb.png", "cmyk.jpg"]
    assert [(failure.path, failure.error[:25]) for failure in batch.failures] == [
        ("slow.ppm", "decoding took longer than")
    ]


def test_a_decoder_that_crashes_is_an_error_of_its_image():
    load_crop(FIXTURES / "lzw.tif", SPEC)          # starts a process
    process = isolated._pool().queue[0]
    timer = threading.Timer(0.5, lambda: os.kill(process.process.pid, signal.SIGSEGV))
    timer.start()
    with pytest.raises(ImageError, match=r"ended its decoder \(exit code -11\)"):
        load_crop(SLOW, SPEC)
    timer.join()
    assert load_crop(FIXTURES / "lzw.tif", SPEC).shape == (32, 32, 3)


def test_a_process_that_ended_meanwhile_is_replaced():
    load_crop(FIXTURES / "lzw.tif", SPEC)
    process = isolated._pool().queue[0].process
    process.kill()
    process.wait()
    assert load_crop(FIXTURES / "lzw.tif", SPEC).shape == (32, 32, 3)


def test_memory_is_limited_by_the_size_in_the_header_and_by_the_system():
    file = io.BytesIO()
    Image.new("L", (3000, 2000)).save(file, "WebP", lossless=True)
    with pytest.raises(ImageError, match="3,000 x 2,000 pixels needs 92 MB of memory to be decoded, more than the"):
        load_crop(file.getvalue(), SPEC, limits=Limits(memory=2**26))
    row = zlib.compress((b"\0" + b"\x12\x34" * 4 * 6000) * 4000)
    head = struct.pack(">IIBBBBB", 6000, 4000, 16, 6, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", row), (b"IEND", b"")]
    png = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    with pytest.raises(ImageError, match="PNG image needs more memory than there is"):
        load_crop(b"\x89PNG\r\n\x1a\n" + png, SPEC, limits=Limits(seconds=10, memory=7 * 24_000_000))


def test_a_fork_has_processes_of_its_own():
    """Else two processes would read each other's pixels."""
    load_crop(FIXTURES / "lzw.tif", SPEC)
    pool = isolated._pool()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, b"same" if isolated._pool() is pool else b"other")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 9) == b"other"
    os.close(reader)
    os.close(writer)
