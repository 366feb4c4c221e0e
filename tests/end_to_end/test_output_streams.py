"""Output that cannot be written is an error with an exit code: a full disk, closed streams, readers that have gone."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from commands import Done, Wrn, prepare
from wideresnet.cli.main import run

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
ALL_WELL = "all well"
# What becomes of commands that print on stdout; and of those that have nothing but messages on stderr.
CONDITIONS = {
    ">/dev/full": (2, ALL_WELL), "2>/dev/full": (ALL_WELL, 2), ">&-": (2, 2), "2>&-": (ALL_WELL, 2),
    ">&- 2>&-": (2, 2), "| GONE": (141, ALL_WELL), "2>&1 | GONE": (141, 141), "<&-": (ALL_WELL, ALL_WELL),
}  # fmt: skip
PRINTING = [
    "--version", "--help", "models", "models --format json", "info tiny", "info --help", "classify photos/0 -m tiny",
    *(f"classify photos/0 -m tiny --format {format}" for format in ("json", "jsonl", "csv", "zoo")),
    "evaluate cats -m tiny", "evaluate cats -m tiny --format json", "merge part.json", "compare s.csv s.csv",
    "explain photos/0/00000.png -m tiny -o maps", "explain photos/0/00000.png -m tiny --format json",
    "embed photos/0 -m tiny -o out.npy", "export -m tiny -o bundle --format json",
    "compile -m tiny --precision fp16 --data photos/0 -o half", "recommend --rate 1",
    "bench -m tiny --iterations 1 --rounds 1 --format json", "finetune --from tiny --data cats -o run --format json",
    "data --help",
]  # fmt: skip
SAYING = ["classify absent", "nonsense", "info absent", "evaluate absent -m tiny", "data imagenet photos -o i.csv"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, images of which all can be read, class folders, and what other commands read."""
    folder = tmp_path_factory.mktemp("streams")
    prepare(folder, 6)
    for number in range(6):
        target = folder / "cats" / ("cat", "dog")[number % 2] / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(folder / "photos" / f"{number % 2}" / f"{number:05}.png")
    (folder / "bad").mkdir()
    (folder / "bad" / "x.png").write_text("no image")
    return folder


def shell(folder: Path, command: str, redirection: str) -> Done:
    """The command in a shell; what is left of its output."""
    gone = "GONE" in redirection
    line = f"exec {shlex.quote(sys.executable)} -m wideresnet {command} {redirection.partition('|')[0]}"
    read, write = os.pipe()
    try:
        os.close(read)
        done = subprocess.run(
            ["sh", "-c", line], cwd=folder, text=True, check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            stdout=write if gone else subprocess.PIPE,
            env={**os.environ, "WRN_OFFLINE": "1", "OMP_NUM_THREADS": "1", "WRN_CACHE": str(folder / "cache")},
        )  # fmt: skip
    finally:
        os.close(write)
    return Done(done.returncode, done.stdout or "", done.stderr)


def check(folder: Path, command: str, redirection: str, expected: int) -> None:
    """The exit code, and neither a traceback nor Python's complaint at its end."""
    done = shell(folder, command, redirection)
    assert done.code == expected, (command, redirection, done.err)
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err
    if expected == 2 and redirection in (">/dev/full", ">&-"):
        assert done.err.startswith(("error: ", "Usage: "))


def outcome(redirection: str, printing: bool, well: int) -> int:
    code = CONDITIONS[redirection][0 if printing else 1]
    return well if code == ALL_WELL else int(code)


@FULL
@pytest.mark.parametrize("redirection", CONDITIONS)
def test_output_that_is_lost_is_never_exit_code_0(folder: Path, redirection: str) -> None:
    """A command that prints, under everything a shell can do to its streams."""
    check(folder, "models", redirection, outcome(redirection, True, 0))


@FULL
@pytest.mark.parametrize(("redirection", "code"), [("2>/dev/full", 2), ("2>&-", 1), ("2>&1 | GONE", 141)])
def test_messages_that_are_lost_count_like_output(folder: Path, redirection: str, code: int) -> None:
    """Which images failed is on stderr: where it was to be read and is lost, the exit code says more than 1."""
    check(folder, "classify bad -m tiny", redirection, code)


@FULL
def test_the_words_for_a_full_disk_and_for_closed_streams(folder: Path) -> None:
    """They name the reason, and what to do."""
    done = shell(folder, "models", ">/dev/full")
    assert "error: cannot write the output: No space left on device\n" in done.err
    done = shell(folder, "models", ">&-")
    assert done.err.splitlines() == [
        "error: cannot write the output: standard output is closed",
        "hint:  send it elsewhere: to a file, or >/dev/null",
    ]
    done = shell(folder, "classify - -m tiny", "<&-")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: cannot read standard input: it is closed")


def test_a_run_that_writes_files_needs_no_streams(folder: Path) -> None:
    """And no file of the run takes the number of a closed stream and gets what is printed."""
    check(folder, "classify photos/0 -m tiny --format csv -o whole.csv", "", 0)
    check(folder, "classify photos/0 -m tiny --format csv -o a.csv", "<&- >&- 2>&-", 0)
    assert (folder / "a.csv").read_bytes() == (folder / "whole.csv").read_bytes()


@FULL
@pytest.mark.slow
@pytest.mark.parametrize("redirection", CONDITIONS)
@pytest.mark.parametrize("command", [*PRINTING, *SAYING])
def test_every_command_under_every_condition(folder: Path, command: str, redirection: str) -> None:
    """As the table above says, for all commands alike."""
    if not (folder / "part.json").exists():
        (folder / "part.json").write_text(shell(folder, "evaluate cats -m tiny --shard 1/1 --format json", "").out)
        shell(folder, "evaluate cats -m tiny -o s.csv", "")
    check(folder, command, redirection, outcome(redirection, command in PRINTING, 0 if command in PRINTING else 2))


@FULL
@pytest.mark.parametrize(
    ("redirection", "code"), [("2>/dev/full", 2), pytest.param(">&- 2>&-", 0, marks=pytest.mark.slow)]
)
def test_a_service_goes_on_without_a_log_and_says_so_at_its_end(folder: Path, redirection: str, code: int) -> None:
    """Its answers are its output: a full disk under the log ends no request."""
    pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    line = f"exec {shlex.quote(sys.executable)} -m wideresnet serve -m tiny --port {port} --log json {redirection}"
    service = subprocess.Popen(["sh", "-c", line], cwd=folder, env={**os.environ, "WRN_OFFLINE": "1"})
    try:
        image = (folder / "photos" / "0" / "00000.png").read_bytes()
        request = Request(f"http://127.0.0.1:{port}/v1/classify", image, {"Content-Type": "image/png"})
        for _ in range(200):
            try:
                with urlopen(request, timeout=5) as answer:
                    assert answer.status == 200
                break
            except URLError:
                time.sleep(0.1)
        for _ in range(60):                        # more than a buffer of lines
            with urlopen(request, timeout=5) as answer:
                assert answer.status == 200
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) == code
    finally:
        service.kill()
        service.wait()


# -o and --report, refused before any work

TARGETS = {
    "classify photos -m absent -o {}": "file", "classify photos -m absent --format json -o {}": "file",
    "evaluate photos -m absent -o {}.csv": "file", "evaluate photos -m absent --report {}": "file",
    "merge absent --report {}": "file", "compare absent.csv absent.csv --report {}": "file",
    "explain photos -m absent -o {}": "folder", "explain photos -m absent -o maps --report {}": "file",
    "embed photos -m absent -o {}.npy": "file", "export -m absent -o {}": "folder",
    "compile -m absent -o {}": "folder", "compile -m absent -o half --report {}": "file",
    "bench -m absent -o {}": "file", "bench -m absent --report {}": "file",
    "finetune --from absent --data photos -o {}": "folder", "data imagenet photos -o {}": "file",
    "data imagenet photos -o i.csv --extract {}": "folder", "data imagenet photos -o i.csv --folders {}": "folder",
}  # fmt: skip


@pytest.mark.parametrize("command", TARGETS)
def test_what_cannot_be_written_is_refused_before_any_work(
    wrn: Wrn, tmp_path: Path, photos: Path, command: str
) -> None:
    """A device, a file in a folder's place, a folder in a file's: exit code 2, the reason, and nothing is touched."""
    (tmp_path / "a-file").write_text("mine")
    wrong = {"a-file/x": "Not a directory"}
    if "{}." not in command:
        wrong["/dev/null"] = "not a regular file" if TARGETS[command] == "file" else "Not a directory"
        wrong["photos" if TARGETS[command] == "file" else "a-file"] = "Is a directory|Not a directory"
    for target, reason in wrong.items():
        done = wrn(*command.format(target).split())
        assert done.code == 2
        assert re.search(f"{reason}|there already and is no bundle", done.err)
        assert "absent" not in done.err            # the model was not even looked for
    assert not Path("/dev/null").is_file()
    assert (tmp_path / "a-file").read_text() == "mine"


def test_the_help_lists_the_exit_codes(wrn: Wrn) -> None:
    """As docs/output.md does."""
    shown = " ".join(wrn("--help").out.split())
    for words in ("0 success", "1 some images failed", "2 error", "130 interrupted", "141 the reader"):
        assert words in shown


def test_the_entry_point_leaves_a_stream_that_is_read_by_others_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """In a test or a notebook sys.stdout is not the process's own."""
    before = sys.stdout
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["wrn", "--version"])
        with pytest.raises(SystemExit):
            run()
    assert sys.stdout is before
