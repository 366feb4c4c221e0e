"""``torchrun … -m wideresnet train``: several processes end with one run, also when one of them is killed amid it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from runs import RECIPE, assert_the_same, log, noise_photos

pytest.importorskip("torch")

OWN_RECIPE = RECIPE + """sizes = [[0, 12], [1, 16]]
"""
# Rank 1 is killed once, as no handler can prevent, amid the second epoch. Its mark says that it was.
KILLED = """
import os, signal
from pathlib import Path
from wideresnet.cli.main import run
from wideresnet.training import loop
whole, steps, mark = loop.take_step, [], Path("killed")
def take_step(*arguments):
    steps.append(1)
    if len(steps) == 6 and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
loop.take_step = take_step
run()
"""
TRAIN = ("train", "recipe.toml", "--data", "photos", "-o")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    noise_photos(tmp_path, val=3)
    (tmp_path / "recipe.toml").write_text(OWN_RECIPE.format(epochs=3))
    return tmp_path


def torchrun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Two processes of ``arguments``."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "WRN_OFFLINE": "1"},
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),      # a shell's "&" has it ignored
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_two_processes_say_and_write_what_one_does(photos: Path) -> None:
    code, out, err = end(torchrun(photos, "-m", "wideresnet", *TRAIN, "run"))
    assert code == 0, err
    assert out == "run/model.safetensors: the weights of the last epoch\n"
    assert err.count("photos: 32 images of 2 classes for training, 6 for validation") == 1
    assert re.findall(r"^epoch +(\d)  loss [\d.]+  top-1 [\d.]+ %", err, re.MULTILINE) == ["1", "2", "3"]
    written = {path.name for path in (photos / "run").iterdir()}
    assert written == {"checkpoint.pt", "curves.html", "data.json", "log.jsonl", "model.safetensors", "recipe.toml"}
    assert [line[0] for line in log(photos / "run")] == [0, 1, 2]
    # What cannot be is an error in words, once.
    code, _, err = end(torchrun(photos, "-m", "wideresnet", *TRAIN, "other", "--set", "batch_size=9"))
    assert code == 1, "torchrun's own"
    assert err.count("error: batch_size 9 is not a multiple of the 2 processes") == 1
    assert not (photos / "other").exists()


@pytest.mark.slow
def test_seeds_are_trained_one_after_another_by_all_processes(photos: Path) -> None:
    code, out, err = end(torchrun(photos, "-m", "wideresnet", *TRAIN, "run", "--seeds", "2", "--set", "epochs=1"))
    assert code == 0, err
    assert out.count("mean ± standard deviation, n = 2") == 1
    assert end(torchrun(photos, "-m", "wideresnet", *TRAIN, "alone", "--set", "epochs=1", "--set", "seed=1"))[0] == 0
    assert_the_same(photos / "run" / "seed-1", photos / "alone")


@pytest.mark.slow
def test_images_kept_on_a_disk_are_decoded_by_one_process_for_all(photos: Path) -> None:
    assert end(torchrun(photos, "-m", "wideresnet", *TRAIN, "memory"))[0] == 0
    code, _, err = end(torchrun(photos, "-m", "wideresnet", *TRAIN, "disk", "--cache", "kept"))
    assert code == 0, err
    assert_the_same(photos / "memory", photos / "disk")
    assert len(list((photos / "kept").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("average", ["ema = 0.9", "swa = 2\nrandaugment = 2", "ema = 0.9\nmuon_rate = 0.02"])
def test_a_killed_worker_is_restarted_and_the_run_ends_as_if_undisturbed(photos: Path, average: str) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=3).replace("ema = 0.9", average))
    assert end(torchrun(photos, "-m", "wideresnet", *TRAIN, "whole"))[0] == 0
    (photos / "killed.py").write_text(KILLED)
    code, _, err = end(torchrun(photos, "--max-restarts", "1", "killed.py", *TRAIN, "cut"))
    assert code == 0, err
    assert (photos / "killed").exists()
    assert err.count("photos: 32 images") == 2, "it was begun twice"
    assert_the_same(photos / "whole", photos / "cut")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux which processes there are")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_interrupted_ends_all_and_the_same_command_goes_on(photos: Path, by: signal.Signals) -> None:
    (photos / "recipe.toml").write_text(OWN_RECIPE.format(epochs=200))
    process = torchrun(photos, "-m", "wideresnet", *TRAIN, "run")
    while process.poll() is None and not (photos / "run" / "log.jsonl").exists():
        time.sleep(0.05)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 2
    process.send_signal(by)                        # a terminal tells it alone, too: workers have sessions of their own
    code, _, err = end(process)
    assert code != 0
    line = "stopped; the same command continues after the last complete epoch in run"
    assert err.count(line) == (by == signal.SIGINT)
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    done = torch.load(photos / "run" / "checkpoint.pt", weights_only=True)["epoch"]
    assert 0 < done < 200
    process = torchrun(photos, "-m", "wideresnet", *TRAIN, "run")
    while process.poll() is None and len(log(photos / "run")) <= done:
        time.sleep(0.05)
    process.terminate()
    end(process)
    assert [line[0] for line in log(photos / "run")][: done + 1] == list(range(done + 1))
