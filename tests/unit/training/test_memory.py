"""Memory that a step frees is still there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from wideresnet.training import memory

# How many MiB the process gives back when it frees 24; in a process of its own, which the setting then belongs to.
FREE = """
import ctypes, os, sys
from pathlib import Path
from wideresnet.training.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
libc, size = ctypes.CDLL(None), 24 << 20
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
block = libc.malloc(size)
ctypes.memset(block, 1, size)
before = resident()
libc.free(block)
print(round((before - resident()) * os.sysconf("SC_PAGE_SIZE") / 2**20))
"""


@pytest.mark.skipif(sys.platform != "linux" or "glibc" not in platform.libc_ver(), reason="mallopt is glibc's")
@pytest.mark.parametrize(("word", "given_back"), [("leave", 24), ("keep", 0)])
def test_what_is_freed_stays(word: str, given_back: int) -> None:
    command = [sys.executable, "-c", FREE, word]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == given_back


@pytest.mark.parametrize("name", ["darwin", "win32"])
def test_elsewhere_nothing_is_touched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", name)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: pytest.fail("no library is asked"))
    assert memory.keep_memory() is False


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert memory.keep_memory() is False
