"""``wrn train`` interrupted and killed, also in the middle of a checkpoint: the weights of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from commands import Wrn
from runs import RECIPE, assert_the_same, noise_photos

OWN_RECIPE = RECIPE + """sizes = [[0, 12], [2, 16]]
"""
# "wrn" with one thread, as everywhere in the tests, and a signal for itself at a moment that is counted, not timed.
PROCESS = """
import json, os, sys, threading, torch
from wideresnet.cli.main import run
from wideresnet.training import loop
loop.available_cpus = lambda: 1
stop = json.loads(sys.argv.pop(1))
checkpoints = steps = 0

def save(values, file, whole=torch.save):
    global checkpoints
    if stop["half"] and checkpoints == stop["checkpoints"]:
        file.write(b"PK" + bytes(5000))
        file.flush()
        os.kill(os.getpid(), stop["signal"])
    whole(values, file)
    checkpoints += 1
    if not stop["half"] and checkpoints == stop["checkpoints"]:
        os.kill(os.getpid(), stop["signal"])

def take_step(*arguments, whole=loop.take_step):
    global steps
    steps += 1
    if steps == stop["steps"]:
        timer = threading.Timer(stop["delay"], os.kill, (os.getpid(), stop["signal"]))
        timer.daemon = True
        timer.start()
    return whole(*arguments)

torch.save, loop.take_step = save, take_step
run()
"""


@dataclass(frozen=True)
class Stop:
    """When a process sends itself a signal: after ``checkpoints``, or ``delay`` seconds after ``steps`` began.

    The last of the checkpoints is written and not renamed yet; with ``half``, half of the next one is written.
    """

    signal: int = signal.SIGKILL
    checkpoints: int = -1
    half: bool = False
    steps: int = -1
    delay: float = 0.0


COMMAND = ("train", "recipe.toml", "--data", "photos", "-o")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    noise_photos(tmp_path, val=2)
    return tmp_path


def train(folder: Path, run: str, stop: Stop = Stop()) -> tuple[int, str]:
    """Run the command; return exit code and stderr."""
    result = subprocess.run(
        [sys.executable, "-c", PROCESS, json.dumps(asdict(stop)), *COMMAND, run],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),      # a shell's "&" has it ignored
    )  # fmt: skip
    return result.returncode, result.stderr


AVERAGES = ["ema = 0.9", "swa = 3\nrandaugment = 2", "ema = 0.9\nmuon_rate = 0.02"]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.usefixtures("one_thread")
def test_interrupted_and_killed_in_the_middle_of_a_checkpoint_it_ends_as_if_undisturbed(
    wrn: Wrn, photos: Path, average: str
) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=4).replace(AVERAGES[0], average))
    assert wrn(*COMMAND, "whole").code == 0
    code, stderr = train(photos, "cut", Stop(signal.SIGINT, checkpoints=1))
    assert code == 130
    assert "stopped; the same command continues after the last complete epoch in cut" in stderr
    assert "Traceback" not in stderr
    assert train(photos, "cut", Stop(checkpoints=1, half=True))[0] == -signal.SIGKILL
    assert (photos / "cut" / ".checkpoint.pt.part").stat().st_size == 5002, "the kill came in the middle"
    assert torch.load(photos / "cut" / "checkpoint.pt", weights_only=True)["epoch"] == 1
    assert wrn(*COMMAND, "cut").code == 0
    assert_the_same(photos / "whole", photos / "cut")
    assert not list((photos / "cut").glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("average", AVERAGES)
def test_killed_at_random_moments_until_it_is_done(photos: Path, seed: int, average: str) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=20).replace(AVERAGES[0], average))     # of 4 steps
    assert train(photos, "whole")[0] == 0
    dice, kills, code = random.Random(seed), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        code, stderr = train(photos, "cut", Stop(steps=dice.randint(2, 30), delay=dice.uniform(0, 0.05)))
        kills += code == -signal.SIGKILL
    assert kills > 0
    assert code == 0, stderr
    assert_the_same(photos / "whole", photos / "cut")
