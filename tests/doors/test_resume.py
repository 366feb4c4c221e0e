"""``wrn classify -o FILE`` killed with SIGKILL again and again: the same file at the end, nothing lost or doubled."""

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
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import write_bundle

COMMAND = [sys.executable, "-m", "wideresnet", "classify", "photos", "-m", "tiny", "-k", "3"]


DISTINCT = 1000


def prepare(folder: Path, pictures: int) -> None:
    """A small model, and pictures of noise in two folders; every hundredth file is none."""
    write_bundle(folder / "tiny", tiny_bundle())
    noise = np.random.default_rng(0)
    for number in range(pictures):
        path = folder / "photos" / f"{number % 2}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:                     # made sooner, read as slowly
            os.link(folder / "photos" / f"{number % 2}" / f"{number % DISTINCT:05}.png", path)
        elif number % 100 == 7:
            path.write_bytes(b"no picture")
        else:
            Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(path, compress_level=0)


def start(folder: Path, file: str, format: str, *more: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, "--format", format, "-o", file, *more]
    environment = {**os.environ, "WRN_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),      # a shell's "&" has it ignored
    )  # fmt: skip


def whole(folder: Path, format: str) -> object:
    """The file of a run that nobody disturbed."""
    start(folder, "whole", format).communicate()
    return content(folder / "whole", format)


def content(file: Path, format: str) -> object:
    if format != "parquet":
        return file.read_bytes()
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


def answers(folder: Path) -> int:
    """How many answers count in the unfinished file."""
    try:
        return int(json.loads((folder / "out.part" / "state.json").read_text())["answers"])
    except OSError:
        return 0


def stop_after(
    process: subprocess.Popen[bytes], seconds: float, folder: Path, beyond: int = 0, by: signal.Signals = signal.SIGKILL
) -> tuple[int, bytes]:
    """A signal once more than ``beyond`` answers count and then ``seconds`` have passed; exit code and stderr."""
    while process.poll() is None and answers(folder) <= beyond:
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(by)
    _, said = process.communicate()
    return process.returncode, said


def test_interrupted_killed_and_resumed_the_file_is_the_one_of_an_undisturbed_run(tmp_path: Path) -> None:
    prepare(tmp_path, 4000)                        # so many that no signal comes too late
    expected = whole(tmp_path, "csv")
    code, said = stop_after(start(tmp_path, "out", "csv"), 0, tmp_path, by=signal.SIGINT)
    assert code == 130
    assert b"stopped; what was answered is in out.part: --resume goes on" in said
    assert b"Traceback" not in said
    first = answers(tmp_path)
    assert 0 < first < 4000
    assert stop_after(start(tmp_path, "out", "csv", "--resume"), 0, tmp_path, first)[0] == -signal.SIGKILL
    assert first < answers(tmp_path) < 4000
    last = start(tmp_path, "out", "csv", "--resume")
    last.communicate()
    assert last.returncode == 1                    # some pictures failed, if perhaps in the earlier part
    assert content(tmp_path / "out", "csv") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "tiny", "whole"]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("more", [(), ("--dedupe",)])
def test_killed_at_random_moments_until_it_is_done(tmp_path: Path, format: str, more: tuple[str, ...]) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    prepare(tmp_path, 3000)
    expected, dice, killed = whole(tmp_path, format), random.Random(format), 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        # Each time a little later, so that it ends however long a start takes on this machine.
        process = start(tmp_path, "out", format, "--resume", *more)
        code, said = stop_after(process, dice.uniform(0.3, 2) + killed / 10, tmp_path, beyond=-1)
        killed += 1
    assert killed > 1
    assert code == 1, said
    assert content(tmp_path / "out", format) == expected
