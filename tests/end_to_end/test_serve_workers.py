"""``wrn serve --workers``: several processes that are one service."""

from __future__ import annotations

import http.client
import os
import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from commands import Wrn
from server_process import Server, image, serving, write_tiny
from wideresnet.machine import available_cpus

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.skipif(available_cpus() < 2, reason="two workers need two CPUs"),
]


def answered(server: Server) -> float:
    metrics = server.ask("GET", "/metrics")[1].decode()
    found = re.findall(r'^wrn_requests_total{[^}]*route="/v1/classify",status="200"} (\S+)$', metrics, re.MULTILINE)
    return sum(map(float, found))


class Clients:
    """Threads that classify on connections of their own until they are stopped, and count answers and lost ones."""

    def __init__(self, server: Server, number: int) -> None:
        self.answers, self.statuses, self.lost = 0, set[int](), 0
        self._server, self._stopped, self._lock = server, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=30)
        while not self._stopped.is_set():
            try:
                connection.request("POST", "/v1/classify", image())
                with connection.getresponse() as response:
                    response.read()
                with self._lock:
                    self.answers += 1
                    self.statuses.add(response.status)
            except (OSError, http.client.HTTPException):
                connection.close()                 # the next request opens it again
                with self._lock:
                    self.lost += 1
        connection.close()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_a_killed_worker_loses_only_its_own_requests(tmp_path: Path, wrn: Wrn) -> None:
    """Others go on, it is started again, every scrape has the sums of all, and SIGTERM ends all with exit code 0."""
    write_tiny(tmp_path)
    with serving(tmp_path, "--workers", "2") as server:
        before = server.workers()
        assert len(before) == 2
        assert server.gauge("wrn_worker_restarts_total") == 0
        clients = Clients(server, 4)
        server.until(lambda: clients.answers > 100, 120)
        clients.stop()
        assert (clients.statuses, clients.lost) == ({200}, 0)
        server.until(lambda: answered(server) == clients.answers)
        assert all(answered(server) == clients.answers for _ in range(8))      # whichever worker is asked
        assert server.gauge("wrn_queue_capacity") == 2 * max(64, 16 * available_cpus())

        total = clients.answers
        clients = Clients(server, 4)
        server.until(lambda: clients.answers > 20, 60)
        os.kill(min(before), signal.SIGKILL)
        server.until(lambda: "has ended (signal 9: Killed), another one starts" in server.log.read_text())
        goal = clients.answers + 20
        server.until(lambda: clients.answers > goal, 60)                       # one worker, or both again
        server.until(lambda: len(server.workers()) == 2 and server.log.read_text().count("\nready") == 3, 120)
        clients.stop()
        assert clients.statuses == {200}
        assert clients.lost <= 4                   # at most one request of each client was in work there
        assert server.gauge("wrn_worker_restarts_total") == 1
        assert server.gauge("wrn_draining") == 0
        assert total < answered(server) <= total + clients.answers             # the last half second of one is lost

        assert wrn("serve", "-m", str(tmp_path / "tiny"), "--port", str(server.port)).code == 2    # the port is taken
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        assert server.log.read_text().count("shutting down: 0 requests") == 2


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    with serving(tmp_path, "--workers", "2") as server:
        pids = server.workers()
        server.process.kill()
        server.until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids))    # of zombies there is none


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "9999"), f"a CPU each, and there are {available_cpus()}\nhint:  --workers {available_cpus()}\n"),
        (("--workers", "2", "--threads", "1"), "2 workers need a thread and a CPU each, and --threads is 1\n"),
        (("--workers", "2", "--shadow", "a=b"), "--shadow has no effect with several --workers"),
        (("--workers", "2", "--admin-token-file", "x"), "--admin-token-file has no effect with several --workers"),
        (("--workers", "2", "--ray", "local"), "--workers has no effect with --ray"),
    ],
)
def test_what_cannot_work_with_workers_is_refused(wrn: Wrn, options: tuple[str, ...], words: str) -> None:
    done = wrn("serve", "--port", "0", *options)
    assert done.code == 2
    assert words in done.err


def test_a_model_that_cannot_be_opened_ends_all(tmp_path: Path, wrn: Wrn) -> None:
    (tmp_path / "bad").mkdir()
    done = wrn("serve", "-m", str(tmp_path / "bad"), "--port", "0", "--workers", "2")
    assert done.code == 2
    assert "a worker cannot start" in done.err
