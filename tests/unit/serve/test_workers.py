"""The parent of several workers, at moments that a test of whole processes cannot choose."""

from __future__ import annotations

import errno
import signal
import time
from types import SimpleNamespace

import pytest

from wideresnet.serve import workers
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.workers import Parent, Worker


class Process:
    """A process whose ``start`` does what a test says; ``Process.signals`` are those that it got."""

    signals: list[int]
    exitcode, pid = None, 0

    def __init__(self, target: object, args: object) -> None:
        pass

    def start(self) -> None:
        self.at_start()
        self.pid = 4711

    @staticmethod
    def at_start() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Parent:
    Process.signals = []
    monkeypatch.setattr(workers, "get_context", lambda _: SimpleNamespace(Process=Process))
    monkeypatch.setattr(workers.os, "kill", lambda pid, number: Process.signals.append(number))
    lines: list[str] = []
    parent = Parent(ServeSettings(), lines.append, lines.append, [Worker(1)])
    parent.lines = lines                           # type: ignore[attr-defined]
    return parent


def test_a_worker_that_is_just_starting_gets_the_signal_to_end(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the parent would wait for it for ever."""
    monkeypatch.setattr(Process, "at_start", lambda self: parent._shut_down())
    parent._start(parent.workers[0])
    assert parent.is_draining
    assert Process.signals == [signal.SIGTERM]


def test_a_worker_that_cannot_be_started_is_tried_again(parent: Parent) -> None:
    """The other workers go on meanwhile, and Ctrl-C is for the parent again."""
    before = signal.getsignal(signal.SIGINT)
    (worker,) = parent.workers
    for pause in (0.5, 1.0):
        parent._start(worker)
        assert worker.process is None
        assert worker.start > time.monotonic()
        words = f"a worker cannot be started (Resource temporarily unavailable), another one starts in {pause:g} s"
        assert parent.lines[-1] == words           # type: ignore[attr-defined]
    assert signal.getsignal(signal.SIGINT) is before
