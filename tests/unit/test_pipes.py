"""Pipes and devices: read to their end where data come, given up where none do, and never waited for."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from wideresnet import pipes
from wideresnet.config import read_toml
from wideresnet.datasets.imagenet import open_source
from wideresnet.datasets.open import open_labelled
from wideresnet.errors import ConfigError, DataError, WeightsError, WrnError
from wideresnet.images.loader import load_batches, named_item
from wideresnet.output.scores import read_scores
from wideresnet.pipes import read_file, read_open, read_text, special_kind
from wideresnet.records import Item, Labels, Preprocess
from wideresnet.weights.read import read_tensors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")

LARGE = bytes(range(256)) * 4000                   # more than a pipe holds at a time


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A named pipe without a writer, which is given up soon."""
    monkeypatch.setattr(pipes, "WAIT", 0.05)
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path / "pipe.png"


def writing(pipe: Path, data: bytes, delay: float = 0.0) -> threading.Thread:
    def write() -> None:
        time.sleep(delay)
        pipe.write_bytes(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def test_a_pipe_is_read_to_its_end(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its writer comes later, and where it gives more than fits into the pipe."""
    monkeypatch.setattr(pipes, "WAIT", 20.0)
    writer = writing(pipe, LARGE, delay=0.1)
    assert read_file(pipe) == LARGE
    writer.join()


def test_a_pipe_without_a_writer_and_one_that_says_nothing_are_given_up(pipe: Path) -> None:
    with pytest.raises(TimeoutError, match=r"no data came within 0\.05 s"):
        read_file(pipe)
    silent = os.open(pipe, os.O_RDWR)              # a writer, too
    with pytest.raises(TimeoutError):
        read_file(pipe)
    os.close(silent)


def test_of_a_device_without_an_end_no_more_than_the_limit_is_read() -> None:
    assert read_file(Path("/dev/zero"), 100_000) == bytes(100_000)
    assert read_file(Path("/dev/null"), 100_000) == b""


def test_stdin_is_read_like_a_file_be_it_a_pipe_or_in_memory() -> None:
    reading, writing_end = os.pipe()
    os.write(writing_end, b"abc")
    os.close(writing_end)
    with os.fdopen(reading, "rb") as file:
        assert read_open(file) == b"abc"
    assert read_open(io.BytesIO(b"abc")) == b"abc"


def test_text_is_what_path_gives(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffa\r\nb\rü\n".encode())
    assert read_text(tmp_path / "x.txt", "utf-8-sig") == (tmp_path / "x.txt").read_text("utf-8-sig")


def test_only_what_is_special_has_a_kind(pipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(pipe)
    kinds = [special_kind(tmp_path / name) for name in ("pipe.png", "link", "file", "absent", ".")]
    assert kinds == ["a named pipe", "a named pipe", "", "", ""]
    assert special_kind(Path("/dev/null")) == "a device"


def test_among_many_images_a_pipe_a_socket_and_a_device_are_failures_that_nobody_opens(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "WAIT", 1000.0)
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)                    # the names of sockets are short
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.jpg")
    paths = [pipe, tmp_path / "zero.jpg", tmp_path / "socket.jpg"]
    items = [Item(str(path), path) for path in paths]
    (batch,) = load_batches(items, Preprocess(8, 8), batch_size=8, threads=1)
    server.close()
    assert [failure.error for failure in batch.failures] == [
        "not a regular file: a named pipe", "not a regular file: a device", "not a regular file: a socket",
    ]  # fmt: skip


def test_a_pipe_that_is_named_is_read_and_without_data_a_failure(pipe: Path) -> None:
    (batch,) = load_batches([named_item(pipe)], Preprocess(8, 8), batch_size=8, threads=1)
    assert batch.failures[0].error == "not a regular file: a named pipe"
    assert "data come within" in batch.failures[0].hint
    writer = writing(pipe, b"abc")
    assert named_item(pipe).source == b"abc"
    writer.join()


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda pipe: open_labelled(pipe, Labels(("a", "b"))), DataError),
        (lambda pipe: open_labelled(pipe.parent, Labels(("a", "b")), ground_truth=pipe), DataError),
        (open_source, DataError),
        (read_tensors, WeightsError),
        (lambda pipe: read_toml(pipe, "recipe"), ConfigError),
        (lambda pipe: list(read_scores(pipe)), DataError),
    ],
)
def test_files_that_are_pipes_without_data_are_errors_in_words(pipe: Path, read: object, error: type[WrnError]) -> None:
    with pytest.raises(error, match=r"pipe"):
        read(pipe)  # type: ignore[operator]
