"""``wrn classify -o FILE`` killed with SIGKILL again and again: the same file at the end, nothing lost or doubled."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from doors import answers, prepare, start, stop_after

CLASSIFY = ("classify", "photos", "-m", "tiny", "-k", "3", "--format")


def whole(folder: Path, format: str) -> object:
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
    expected = whole(tmp_path, "csv")
    code, said = stop_after(start(tmp_path, *CLASSIFY, "csv", "-o", "out"), 0, tmp_path, by=signal.SIGINT)
    assert code == 130
    assert b"stopped; what was answered is in out.part: --resume goes on" in said
    assert b"Traceback" not in said
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
        process = start(tmp_path, *CLASSIFY, format, "-o", "out", "--resume", *more)
        code, said = stop_after(process, dice.uniform(0.3, 2) + killed / 10, tmp_path, beyond=-1)
        killed += 1
    assert killed > 1
    assert code == 1, said
    assert content(tmp_path / "out", format) == expected
