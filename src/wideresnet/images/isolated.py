"""Decoding in processes: a decoder in a thread can neither be stopped nor limited in memory.

A process is started when it is needed, at most one a CPU, and kept for the next image; it ends by itself after a minute
without one, and with its parent. It is killed when an image exceeds its time. What it sends is never unpickled: one
status byte, then the size of the image and the pixels of its crops, or text.

A request is two messages: JSON of the arguments of ``decode_crops``, then the encoded image.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import math
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, Image

from wideresnet.errors import ImageError
from wideresnet.images.decode import Limits, open_image
from wideresnet.images.preprocess import MIN_SCALE, preprocess
from wideresnet.machine import available_cpus
from wideresnet.records import Exif, Preprocess

# RGB uint8 [S, S, 3] by each preprocessing; width and height of the upright image
SizedCrops = tuple[tuple[NDArray[np.uint8], ...], tuple[int, int]]
_DONE, _REFUSED, _FAILED = b"\0", b"\1", b"\2"     # then size and crop; message and hint of an ImageError; a traceback
_THREAD_WORK = 2**21                               # what a thread may decode, for each second of the limit
_START_SECONDS, _IDLE_SECONDS = 60.0, 60.0         # until the modules are imported; without work
_ARENAS = -8                                       # glibc's M_ARENA_MAX: each further one reserves 64 MB
_MAX_TEXT = 2**20
_CODE = """import os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:] = {}
from wideresnet.images.isolated import answer_requests
answer_requests({})"""


def is_slow(work: float, limits: Limits) -> bool:
    """Return whether an image of this ``workload`` is decoded in a process. On Windows none is: they have no limits."""
    return work > _THREAD_WORK * limits.seconds and sys.platform != "win32"


def decode_crops(data: bytes, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits) -> SizedCrops:
    """Decode encoded bytes in this thread, however long it takes, and preprocess them by each of ``specs``.

    These have the same ``alpha``. See ``loader.load_crop``.
    """
    image, is_reduced = open_for_crops(data, specs, exif, reduced, limits)
    return tuple(preprocess(image, spec, reduced=is_reduced) for spec in specs), image.size


def open_for_crops(
    data: bytes, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits
) -> tuple[Image.Image, bool]:
    """Decode encoded bytes for ``preprocess``; return also its argument ``reduced``. See ``decode_crops``."""
    antialiased = all(spec.interpolation != "opencv-bilinear" for spec in specs)     # a reduced image changes them much
    min_side = math.ceil(MIN_SCALE * max(spec.resize for spec in specs)) if reduced and antialiased else 0
    image = open_image(data, exif=exif, alpha=specs[0].alpha, limits=limits, min_side=min_side)
    return image, bool(min_side) and min(image.size) >= min_side


def decode_in_process(
    data: bytes, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits
) -> SizedCrops:
    """Decode and preprocess like ``decode_crops``, to the byte.

    Waits for a free process. Raises ImageError also for an image that takes longer than ``limits.seconds`` from then
    on, and for one that ends its process.
    """
    arguments = json.dumps([[asdict(spec) for spec in specs], exif, reduced, asdict(limits)]).encode()
    ends = np.cumsum([spec.crop**2 * 3 for spec in specs]).tolist()
    pool, reusable = _pool(), None
    process = pool.get()
    try:
        if process and process.connection.poll():  # it has ended
            process.end()
            process = None
        process = process or _Process()
        answer = process.ask(arguments, data, limits.seconds, 9 + max(ends[-1], _MAX_TEXT))
        reusable = process
    finally:                                       # an interrupted process is not kept: its answer is still to come
        pool.put(reusable)
    status, content, pixels = answer[:1], answer[1:], answer[9:]
    if status == _REFUSED:
        raise ImageError(*map(str, json.loads(content)))
    if status != _DONE or len(pixels) != ends[-1]:
        raise RuntimeError(f"a decoding process failed: {content[:_MAX_TEXT].decode(errors='replace')}")
    parts = np.split(np.frombuffer(pixels, np.uint8), ends[:-1])
    crops = tuple(part.reshape(spec.crop, spec.crop, 3) for part, spec in zip(parts, specs, strict=True))
    return crops, struct.unpack_from("II", content)


class _Process:
    """A process that decodes one image at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        with theirs:
            command = [sys.executable, "-c", _CODE.format(sys.path, theirs.fileno())]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),))
        atexit.register(self.end)
        self.connection.poll(_START_SECONDS)
        self.connection.recv_bytes(0)

    def ask(self, arguments: bytes, data: bytes, seconds: float, limit: int) -> bytes:
        """Return the answer, of ``limit`` bytes at most. Raises ImageError where there is none; the process ends."""
        with suppress(OSError, EOFError):
            self.connection.send_bytes(arguments)
            self.connection.send_bytes(data)
            if not self.connection.poll(seconds):
                self.end()
                raise ImageError(f"decoding took longer than {seconds:g} s", "save it as JPEG or PNG")
            return self.connection.recv_bytes(limit)
        self.end()
        raise ImageError(f"the image ended its decoder (exit code {self.process.returncode})", "save it again")

    def end(self) -> None:
        """End the process, if it has not ended; ``process.returncode`` says how."""
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        self.connection.close()


_Pool = queue.LifoQueue[_Process | None]           # None: a process that is not started yet
_pools: dict[int, _Pool] = {}                      # by process id: a fork must not talk to its parent's processes


def _pool() -> _Pool:
    if os.getpid() not in _pools:
        pool = _Pool()
        for _ in range(available_cpus()):
            pool.put(None)
        _pools.setdefault(os.getpid(), pool)
    return _pools[os.getpid()]


def answer_requests(descriptor: int) -> None:
    """Decode the images of the socket ``descriptor`` until it is closed or idle: the main function of a process."""
    import resource

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENAS, 1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)   # Ctrl-C is for the parent
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    statm, hard = Path("/proc/self/statm"), resource.getrlimit(resource.RLIMIT_AS)[1]
    used = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 0
    with suppress(EOFError, OSError), Connection(descriptor) as connection:
        connection.send_bytes(b"")
        while connection.poll(_IDLE_SECONDS):
            arguments, data = connection.recv_bytes(), connection.recv_bytes()
            specs, exif, reduced, limits = json.loads(arguments)
            # The parent kills this process; the alarm ends it where the parent is gone.
            signal.alarm(int(limits["seconds"]) + 2)
            if used:
                with suppress(ValueError):         # beyond a limit that there is
                    soft = used + limits["memory"] + 2 * len(data)
                    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            chosen = [Preprocess(**spec) for spec in specs]
            connection.send_bytes(_answer(data, chosen, exif, reduced, Limits(**limits)))
            signal.alarm(0)


def _answer(data: bytes, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits) -> bytes:
    try:
        crops, size = decode_crops(data, specs, exif, reduced, limits)
        return b"".join([_DONE, struct.pack("II", *size), *(crop.tobytes() for crop in crops)])
    except ImageError as error:
        return _REFUSED + json.dumps([error.message, error.hint]).encode()
    except Exception:
        return _FAILED + traceback.format_exc().encode(errors="replace")
