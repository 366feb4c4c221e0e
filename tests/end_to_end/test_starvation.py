"""Bodies made to waste time: how long another client of the service waits meanwhile, and how much memory they take."""

from __future__ import annotations

import http.client
import io
import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import write_bundle

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

LONGEST = 2.0                                      # seconds that another client waits, on two free CPUs
SIDE = 8191
CLIENTS = 4                                        # that send such bodies; each has two in eight
MEMORY = 2 * 7 * 2**26                             # bytes: two processes that decode images of --max-pixels


def encoded(format: str, side: int = SIDE, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side), 128).save(file, format, **options)
    return file.getvalue()


def jpeg_of_scans(side: int = SIDE, scans: int = 990) -> bytes:
    """A grey progressive JPEG that repeats its last scan."""
    data = encoded("JPEG", side, "L", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + b"\xff\xd9"


def png_of_chunks(name: bytes, content: bytes, count: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(200)))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(name, content) * count + pixels + chunk(b"IEND", b"")


def form(data: bytes, count: int) -> bytes:
    part = b'--limit\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + data + b"\r\n"
    return part * count + b"--limit--\r\n"


BODIES: dict[str, Callable[[], bytes]] = {
    "scans": jpeg_of_scans,
    "plain-ppm": lambda: b"P6 4000 2500 254\n" + bytes(30_000_000),
    "ppm-comment": lambda: b"P6\n#" + bytes([97]) * (30 * 2**20),
    "png-texts": lambda: png_of_chunks(b"tEXt", b"a\0b", 2_000_000),
    "png-pixels": lambda: png_of_chunks(b"IDAT", b"", 2_000_000),
    "webp": lambda: encoded("WebP", lossless=True, quality=0, method=0),
    "jpeg-2000": lambda: encoded("JPEG2000"),
    "tiff": lambda: encoded("TIFF", compression="tiff_lzw"),
    "gif": lambda: encoded("GIF", mode="P"),
    "large-jpeg": lambda: encoded("JPEG"),
    "many-images": lambda: form(encoded("JPEG", 3000), 64),
    "many-large-images": lambda: form(encoded("JPEG"), 24),
}
SHORT = ("scans", "many-images")


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, int]]:
    """Serve a small model; yield the id of the process and its port."""
    write_bundle(folder / "tiny", tiny_bundle())
    command = [sys.executable, "-m", "wideresnet", "serve", "-m", "tiny", "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        while process.stderr.readline().strip() != "ready":
            pass
        yield process.pid, port
    finally:
        process.kill()
        process.communicate()


def post(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Content-Type": "multipart/form-data; boundary=limit"} if body.startswith(b"--limit") else {}
        connection.request("POST", "/v1/classify", body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def longest_wait(port: int, body: bytes, seconds: float) -> float:
    """Return the seconds until a good image is answered at most, while others send ``body``; 429 is tried again."""
    end, good, longest = time.monotonic() + seconds, encoded("PNG", 32), 0.0

    def attack() -> None:
        while time.monotonic() < end:
            with suppress(OSError, http.client.HTTPException):
                if post(port, body) == 429:
                    time.sleep(0.1)

    for _ in range(CLIENTS):
        threading.Thread(target=attack, daemon=True).start()
    while time.monotonic() < end:
        started = time.monotonic()
        while post(port, good) != 200:
            time.sleep(0.1)
        longest = max(longest, time.monotonic() - started)
        time.sleep(0.1)
    return longest


def memory(process: int) -> int:
    """Return the bytes of resident memory of a process and its children at most so far."""
    peaks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):            # it has ended
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if process in (parent, int(folder.name)):
                peak = (folder / "status").read_text().partition("VmHWM:")[2].split()[0]
                peaks += int(peak) * 1024
    return peaks


@pytest.mark.parametrize("name", SHORT)
def test_nobody_waits_for_a_body_that_wastes_time(name: str, tmp_path: Path) -> None:
    """A few seconds of each, and a limit for machines that do other things meanwhile."""
    with serving(tmp_path) as (_, port):
        assert longest_wait(port, BODIES[name](), 3) < 4 * LONGEST


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize("name", BODIES)
def test_nobody_waits_long_and_memory_stays_bounded(name: str, tmp_path: Path) -> None:
    body = BODIES[name]()
    with serving(tmp_path) as (process, port):
        before = memory(process)
        assert longest_wait(port, body, 20) < LONGEST
        # Bodies are held, too: eight of --max-bytes, and once more while they are decoded.
        assert memory(process) - before < MEMORY + 2 * 8 * 32 * 2**20
