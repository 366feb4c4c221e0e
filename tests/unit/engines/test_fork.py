"""Engines after a fork: an error at once instead of a wait without end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
PROGRAM = """
import multiprocessing, sys
import numpy as np
from fakes import tiny_bundle
from wideresnet.engines.open import open_engine

BATCH = np.zeros((4, 32, 32, 3), np.uint8)

def answer(reopen):
    return (open_engine(tiny_bundle(), sys.argv[1]) if reopen else engine)(BATCH).shape

engine = open_engine(tiny_bundle(), sys.argv[1])
engine(BATCH)
with multiprocessing.get_context("fork").Pool(1) as pool:
    for reopen in (False, True):
        try:
            print(pool.apply(answer, (reopen,)))
        except Exception as error:
            print(type(error).__name__, error.message, "|", error.hint)
"""
REFUSED = "EngineError this process was forked from"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
@pytest.mark.parametrize(
    ("name", "same", "reopened"),
    [("openvino", REFUSED, "(4, 10)"), ("onnxruntime", "(4, 10)", "(4, 10)"), ("pytorch", REFUSED, REFUSED)],
)
def test_a_child_gets_an_answer_or_a_reason(name: str, same: str, reopened: str) -> None:
    pytest.importorskip({"pytorch": "torch"}.get(name, name))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], cwd=TESTS, capture_output=True, text=True, timeout=60, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(same)
    assert lines[1].startswith(reopened)
    assert all("spawn" in line for line in lines if line.startswith(REFUSED))
