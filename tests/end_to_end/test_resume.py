"""``wrn classify -o FILE`` killed with SIGKILL again and again: the same file at the end, nothing lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import answers, prepare, start, stop_after

CLASSIFY = ("classify", "photos", "-m", "tiny", "-k", "3", "--format")


def undisturbed_file(folder: Path, format: str) -> object:
    """The file of a run that nobody disturbed."""
    start(folder, *CLASSIFY, format, "-o", "whole").communicate()
    return content(folder / "whole", format)


def content(file: Path, format: str) -> object:
    if format != "parquet":
        return file.read_bytes()
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


def test_interrupted_killed_and_resumed_the_file_is_the_one_of_an_undisturbed_run(tmp_path: Path) -> None:
    prepare(tmp_path, 4000)                        # so many that no signal comes too late
    expected = undisturbed_file(tmp_path, "csv")
    code, stderr = stop_after(start(tmp_path, *CLASSIFY, "csv", "-o", "out"), 0, tmp_path, by=signal.SIGINT)
    assert code == 130
    assert b"stopped; the answers so far are in out.part: --resume continues" in stderr
    assert b"Traceback" not in stderr
    first = answers(tmp_path)
    assert 0 < first < 4000
    again = start(tmp_path, *CLASSIFY, "csv", "-o", "out", "--resume")
    assert stop_after(again, 0, tmp_path, first)[0] == -signal.SIGKILL
    assert first < answers(tmp_path) < 4000
    last = start(tmp_path, *CLASSIFY, "csv", "-o", "out", "--resume")
    last.communicate()
    assert last.returncode == 1                    # some images failed, if perhaps in the earlier part
    assert content(tmp_path / "out", "csv") == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos", "tiny", "whole"]


# "wrn", killed a moment after it has answered so many images: how fast the machine is changes nothing.
KILLED = """
import os, signal, sys, threading
from wideresnet.cli.main import run
from wideresnet.output.resumable_writer import ResumableWriter
limit, delay, add, count = int(sys.argv.pop(1)), float(sys.argv.pop(1)), ResumableWriter.add, 0
def counted_add(self, answer):
    global count
    add(self, answer)
    count += 1
    if count == limit:
        timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
ResumableWriter.add = counted_add
run()
"""


def run_killed(folder: Path, limit: int, delay: float, *arguments: str) -> tuple[int, bytes]:
    """Run a command that is killed ``delay`` seconds after ``limit`` answers; return exit code and stderr."""
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(limit), str(delay), *arguments],
        cwd=folder, capture_output=True, check=False, env={**os.environ, "WRN_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return result.returncode, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("more", [(), ("--dedupe",)])
def test_killed_at_random_moments_until_it_is_done(tmp_path: Path, format: str, more: tuple[str, ...]) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    prepare(tmp_path, 3000)
    expected, dice, kills = undisturbed_file(tmp_path, format), random.Random(format), 0
    code = -signal.SIGKILL
    while code == -signal.SIGKILL:
        limit = dice.randint(50, 600) + 100 * kills    # later each time: some answers are in no checkpoint yet
        command = *CLASSIFY, format, "-o", "out", "--resume", *more
        code, stderr = run_killed(tmp_path, limit, dice.uniform(0, 0.02), *command)
        kills += code == -signal.SIGKILL
    assert kills > 0
    assert code == 1, stderr
    assert content(tmp_path / "out", format) == expected
