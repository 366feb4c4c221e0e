"""``wrn train`` interrupted and killed, also in the middle of a checkpoint: the weights of a run left in peace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from doors import Wrn
from runs import RECIPE, assert_the_same, noise_photos

OWN_RECIPE = RECIPE + """sizes = [[0, 12], [2, 16]]
"""
# One thread, as everywhere in the tests. A signal for itself when so many checkpoints are written, the last of them not
# in its place yet; or with "half" when they are, and half of the next is written.
PROCESS = """
import os, signal, sys, torch
from wideresnet.cli.main import run
from wideresnet.training import loop
loop.available_cpus = lambda: 1
by, checkpoints, half = int(sys.argv.pop(1)), int(sys.argv.pop(1)), sys.argv.pop(1) == "half"
written, whole = [], torch.save
def save(values, file):
    if half and len(written) == checkpoints:
        file.write(b"PK" + bytes(5000))
        file.flush()
        os.kill(os.getpid(), by)
    whole(values, file)
    written.append(file)
    if not half and len(written) == checkpoints:
        os.kill(os.getpid(), by)
torch.save = save
run()
"""
COMMAND = ("train", "recipe.toml", "--data", "photos", "-o")
NEVER = 10**6


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    noise_photos(tmp_path, val=2)
    return tmp_path


def start(
    folder: Path, run: str, *, by: int = 0, checkpoints: int = NEVER, half: bool = False
) -> subprocess.Popen[bytes]:
    arguments = [str(by), str(checkpoints), "half" if half else "whole"]
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, *arguments, *COMMAND, run],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),      # a shell's "&" has it ignored
    )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, said = process.communicate()
    return process.returncode, said.decode()


@pytest.mark.usefixtures("one_thread")
def test_interrupted_and_killed_in_the_middle_of_a_checkpoint_it_ends_as_if_undisturbed(wrn: Wrn, photos: Path) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=4))
    assert wrn(*COMMAND, "whole").code == 0
    code, said = end(start(photos, "cut", by=signal.SIGINT, checkpoints=1))
    assert code == 130
    assert "stopped; the same command goes on from the last whole epoch in cut" in said
    assert "Traceback" not in said
    assert end(start(photos, "cut", by=signal.SIGKILL, checkpoints=1, half=True))[0] == -signal.SIGKILL
    assert (photos / "cut" / ".checkpoint.pt.part").stat().st_size == 5002, "the kill came in the middle"
    assert torch.load(photos / "cut" / "checkpoint.pt", weights_only=True)["epoch"] == 1
    assert wrn(*COMMAND, "cut").code == 0
    assert_the_same(photos / "whole", photos / "cut")
    assert not list((photos / "cut").glob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_until_it_is_done(photos: Path, seed: int) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=40))
    assert end(start(photos, "whole"))[0] == 0
    dice, killed, code = random.Random(seed), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        process = start(photos, "cut")
        # After the images are read, and each time a little later: it ends, however slow this machine is.
        while process.poll() is None and not (photos / "cut" / "data.json").exists():
            time.sleep(0.01)
        time.sleep(dice.uniform(0.5, 3) + killed / 10)
        process.send_signal(signal.SIGKILL)
        code, said = end(process)
        killed += 1
    assert killed > 1
    assert code == 0, said
    assert_the_same(photos / "whole", photos / "cut")
