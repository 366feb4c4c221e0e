"""The server process where something fails that no message foresees."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serving import until
from wideresnet.serve import run
from wideresnet.serve.run import ServerProcess, open_socket
from wideresnet.serve.service import Service
from wideresnet.serve.settings import ServeSettings

NO_THREAD = RuntimeError("can't start new thread")


class Opened:
    """A server process that is not running, and the lines of its log."""

    def __init__(self, listener: Any, **values: object) -> None:
        self.lines: list[str] = []
        self.process = ServerProcess(Service(ServeSettings(**values), self.lines.append), listener)


@pytest.fixture
def listener() -> Iterator[Any]:
    with open_socket("127.0.0.1", 0) as listener:
        yield listener


async def fail(*_: object) -> bool:
    raise NO_THREAD


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("is_shared", [False, True])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(is_shared: bool) -> None:
    """As for gRPC, whatever the number of workers."""
    with open_socket("::", 0, is_shared=is_shared) as listener:
        listener.listen()
        socket.create_connection(("127.0.0.1", listener.getsockname()[1])).close()


def test_a_start_that_fails_in_any_way_ends_the_process(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only where it is an error of ours: else the service would answer 503 "loading" for ever."""
    monkeypatch.setattr(Service, "load", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        asyncio.run(asyncio.wait_for(Opened(listener).process.run(), 20))


def test_a_reload_that_fails_in_any_way_is_counted_and_said(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(listener)
    monkeypatch.setattr(Service, "load", fail)
    asyncio.run(opened.process.service.reload())
    assert opened.lines == ["reload failed, the open models stay: RuntimeError: can't start new thread"]
    assert b'wrn_reloads_total{result="failed"} 1.0' in opened.process.service.metrics.render()


def test_the_end_comes_though_the_last_spans_cannot_be_sent(listener: Any) -> None:
    process = Opened(listener).process
    process.service.tracing = SimpleNamespace(close=fail)    # type: ignore[assignment]

    async def story() -> None:
        process._shut_down()
        (task,) = process._tasks
        with contextlib.suppress(RuntimeError):
            await task
        assert process._server.should_exit

    asyncio.run(story())


def test_what_is_repeated_goes_on_after_an_error_and_says_it_once(listener: Any) -> None:
    opened, calls = Opened(listener), list[int]()

    async def work() -> None:
        calls.append(1)
        if len(calls) in (1, 2, 4):
            raise OSError(errno.ENOSPC, "No space left on device")

    async def story() -> None:
        task = asyncio.create_task(opened.process._repeat(0, work))
        await until(lambda: len(calls) > 4)
        task.cancel()

    asyncio.run(story())
    assert opened.lines == ["tried again every 0 s: OSError: [Errno 28] No space left on device"] * 2


def test_a_worker_ends_with_its_parent_though_the_disk_is_full(
    listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Opened(listener, figures=tmp_path).process

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run, "write_metrics", full)

    async def story() -> None:
        task = asyncio.create_task(process._repeat(0, lambda: process._share_metrics(tmp_path)))
        await asyncio.sleep(0)
        monkeypatch.setattr(run, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))
        await until(lambda: process._server.should_exit)
        task.cancel()

    asyncio.run(story())
