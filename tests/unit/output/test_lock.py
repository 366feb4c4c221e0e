"""Locks of outputs: one writer at a time, named to the others, and gone with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wideresnet.errors import ConfigError
from wideresnet.output.lock import lock_output

HOLDER = """
import sys, time
from pathlib import Path
from wideresnet.output.lock import lock_output
with lock_output(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_its_death_frees_the_output(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        for command in (False, True):
            with (
                pytest.raises(ConfigError, match=rf"out\.csv: process {holder.pid} on .+ is writing it") as caught,
                lock_output(file, command=command),
            ):
                pass
            assert caught.value.hint
        holder.send_signal(signal.SIGKILL)
    assert [path.name for path in tmp_path.iterdir()] == [".out.csv.lock"]
    with lock_output(file):
        assert str(os.getpid()) in (tmp_path / ".out.csv.lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_of_many_writers_one_is_in_the_block_at_a_time(tmp_path: Path) -> None:
    """Each removes the lock file at its end, which others have open by then."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count() -> None:
        for _ in range(25):
            with lock_output(counter, 60):
                counter.write_text(str(int(counter.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.read_text() == "200"


def test_a_command_does_not_wait_for_its_own_lock(tmp_path: Path) -> None:
    with lock_output(tmp_path / "out", command=True), lock_output(tmp_path / "out"):
        pass
    with lock_output(tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()


def test_the_lock_inside_a_folder_is_one_for_all_its_files(tmp_path: Path) -> None:
    """A file that a resumed run does not write again would keep the lock of a killed one."""
    with lock_output(tmp_path / "run", command=True, inside=True):
        for file in (tmp_path / "run" / "file", tmp_path / "run" / "inner" / "file"):
            with lock_output(file):
                assert [path.name for path in tmp_path.rglob("*.lock")] == [".lock"]
        with lock_output(tmp_path / "file"):
            assert (tmp_path / ".file.lock").exists()


@pytest.mark.parametrize("inside", [False, True])
def test_folders_made_for_a_lock_stay_only_with_files(tmp_path: Path, inside: bool) -> None:
    with lock_output(tmp_path / "a" / "b", inside=inside):
        assert (tmp_path / "a").is_dir()
    assert list(tmp_path.iterdir()) == []
    with lock_output(tmp_path / "a" / "b", inside=inside):
        (tmp_path / "a" / "file").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_a_disk_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(file: object, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("wideresnet.output.lock.fcntl.flock", unknown)
    with pytest.warns(UserWarning, match="cannot be locked.*Function not implemented"), lock_output(tmp_path / "out"):
        pass
