"""``wrn train`` interrupted and killed, also in the middle of a checkpoint: the weights of a run left in peace."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from doors import Wrn
from wideresnet.weights.read import read_tensors

# Everything that could remember something from epoch to epoch is switched on.
RECIPE = """
architecture = "wrn_10_1"
data = "folder"
epochs = {epochs}
batch_size = 8
learning_rate = 0.1
schedule = "one-cycle"
dropout = 0.3
ema = 0.9
label_smoothing = 0.1
trivial = true
mixup = 0.2
flip = "alternating"
stored = 20
sizes = [[0, 12], [2, 16]]
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
    noise = np.random.default_rng(0)
    for part, count in (("train", 16), ("val", 2)):
        for name in ("cats", "dogs"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (24, 24, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{number:02}.png")
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


def state(run: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and momentum of the checkpoint, and the averaged weights of the result."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    momentum = {f"momentum {k}": v["momentum_buffer"] for k, v in saved["optimiser"]["state"].items()}
    averaged = {f"averaged {k}": v for k, v in saved["averaged"].items()}
    result = {f"result {k}": torch.from_numpy(v) for k, v in read_tensors(run / "model.safetensors").tensors.items()}
    return {**saved["model"], **momentum, **averaged, **result}


def log(run: Path) -> list[tuple[object, ...]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["loss"], line.get("top1")) for line in lines]


def assert_the_same(one: Path, other: Path) -> None:
    first, second = state(one), state(other)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    assert log(one) == log(other)


@pytest.mark.usefixtures("one_thread")
def test_interrupted_and_killed_in_the_middle_of_a_checkpoint_it_ends_as_if_undisturbed(wrn: Wrn, photos: Path) -> None:
    (photos / "recipe.toml").write_text(RECIPE.format(epochs=4))
    assert wrn(*COMMAND, "whole").code == 0
    code, said = end(start(photos, "cut", by=signal.SIGINT, checkpoints=1))
    assert code == 130
    assert "stopped; the same command goes on from the last whole epoch in cut" in said
    assert "Traceback" not in said
    assert end(start(photos, "cut", by=signal.SIGKILL, checkpoints=1, half=True))[0] == -signal.SIGKILL
    assert (photos / "cut" / "checkpoint.part").stat().st_size == 5002, "the kill came in the middle"
    assert torch.load(photos / "cut" / "checkpoint.pt", weights_only=True)["epoch"] == 1
    assert wrn(*COMMAND, "cut").code == 0
    assert_the_same(photos / "whole", photos / "cut")
    assert not list((photos / "cut").glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_until_it_is_done(photos: Path, seed: int) -> None:
    (photos / "recipe.toml").write_text(RECIPE.format(epochs=40))
    assert end(start(photos, "whole"))[0] == 0
    dice, killed, code = random.Random(seed), 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        process = start(photos, "cut")
        # After the pictures are read, and each time a little later: it ends, however slow this machine is.
        while process.poll() is None and not (photos / "cut" / "data.json").exists():
            time.sleep(0.01)
        time.sleep(dice.uniform(0.5, 3) + killed / 10)
        process.send_signal(signal.SIGKILL)
        code, said = end(process)
        killed += 1
    assert killed > 1
    assert code == 0, said
    assert_the_same(photos / "whole", photos / "cut")
