"""Memory that a step frees is still there for the next one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wideresnet.training import memory

# Three blocks of 20 MiB, freed and taken again; in a process of its own, which the setting then belongs to.
STEPS = """
import resource, sys, torch
from wideresnet.training.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
step = lambda: [torch.zeros(20 << 20, dtype=torch.uint8) for _ in range(3)]
for _ in range(60):        # glibc needs some rounds until the holes fit
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    command = [sys.executable, "-c", STEPS, word]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_no_page_is_cleared_twice() -> None:
    pytest.importorskip("torch")
    left, kept = faults("leave"), faults("keep")
    assert left > 1_000, "glibc gave the blocks back"
    assert kept < left / 10


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_touched(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", platform)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("no library is asked"))
    assert memory.keep_memory() is False


def test_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_memory() is False
