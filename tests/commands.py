"""Helpers that run commands in processes of their own, for tests of the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakes import tiny_bundle
from wideresnet.bundle import write_bundle


@dataclass(frozen=True)
class Done:
    """The exit code and output of a finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def notes(self) -> str:
        """Stderr without the lines that say which model answers, and what to type next."""
        return re.sub(r"^\S+: [\d,]+ classes, \d+x\d+ pixels, .*\n|^next: .*\n", "", self.err, flags=re.MULTILINE)


# Arguments as on a command line; stdin=bytes.
Wrn = Callable[..., Done]
DISTINCT = 1000                                    # images; more are links to them


def prepare(folder: Path, images: int) -> None:
    """A small model, and images of noise in two folders; every hundredth file is none."""
    write_bundle(folder / "tiny", tiny_bundle())
    noise = np.random.default_rng(0)
    for number in range(images):
        path = folder / "photos" / f"{number % 2}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number >= DISTINCT:                     # made sooner, read as slowly
            os.link(folder / "photos" / f"{number % 2}" / f"{number % DISTINCT:05}.png", path)
        elif number % 100 == 7:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(noise.integers(0, 256, (40, 40, 3), np.uint8)).save(path, compress_level=0)


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own, at work."""
    environment = {**os.environ, "WRN_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "wideresnet", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),      # a shell's "&" has it ignored
    )  # fmt: skip


def answers(folder: Path, file: str = "out") -> int:
    """How many answers count in the unfinished file."""
    try:
        return (folder / f"{file}.part").read_bytes().count(b"\n") - 1        # the first line names the run
    except OSError:
        return 0


def stop_after(
    process: subprocess.Popen[bytes],
    seconds: float,
    folder: Path,
    beyond: int = 0,
    by: signal.Signals = signal.SIGKILL,
    file: str = "out",
) -> tuple[int, bytes]:
    """A signal once more than ``beyond`` answers count and then ``seconds`` have passed; exit code and stderr."""
    while process.poll() is None and answers(folder, file) <= beyond:
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(by)
    _, said = process.communicate()
    return process.returncode, said
