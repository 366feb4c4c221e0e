"""``wrn serve --ray``: the service in replicas behind the proxy of Ray Serve, and its differences."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands import Wrn
from wideresnet.machine import available_cpus

for package in ("starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra serve")

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
LIMIT = 1_000_000                                  # of a body
TOKEN = {"Authorization": "Bearer sesame"}
# Found without importing it here: its warnings would be errors.
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")


@dataclass
class Server:
    """A server process, its port, and its log (stderr)."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] = TOKEN
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def answers(self) -> list[object]:
        """Return the response to each example, without times."""
        documents = []
        for path in EXAMPLES:
            status, _, body = self.ask("POST", "/v1/classify", path.read_bytes())
            assert status == 200, path.name
            documents.append({name: value for name, value in json.loads(body).items() if name != "milliseconds"})
        return documents


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "wideresnet", "serve", "--port", "0", "--threads", "1", *options]
    variables = {**os.environ, "WRN_OFFLINE": "1", "WRN_SERVE_TOKEN": "sesame"}
    log = folder / "log.txt"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=variables, stderr=stderr)
    server = Server(process, 0, log)
    try:
        until(lambda: process.poll() is not None or re.search("^ready$", log.read_text(), re.MULTILINE))
        assert process.poll() is None, log.read_text()
        match = re.search(r"listening on http://127.0.0.1:(\d+)", log.read_text())
        assert match
        server.port = int(match[1])
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        finally:
            process.kill()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 180
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--ray", "local", "--replicas", "2", "--cpus", "1", "--max-bytes", str(LIMIT))
    with serving(tmp_path_factory.mktemp("ray"), *options) as server:
        yield server


def test_options_of_a_cluster_are_refused_without_one(wrn: Wrn) -> None:
    done = wrn("serve", "--replicas", "2")
    assert done.code == 2
    assert "for a cluster" in done.err


def test_more_replicas_than_this_machine_has_cpus_for_are_refused(wrn: Wrn) -> None:
    done = wrn("serve", "--ray", "local", "--replicas", str(available_cpus() + 1))
    assert done.code == 2
    assert "more than this machine's" in done.err


def test_without_ray_one_sentence_says_what_to_install(wrn: Wrn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = wrn("serve", "--ray", "local")
    assert done.code == 2
    assert done.err == (
        "error: wrn serve --ray needs ray, which is not installed\nhint:  pip install 'wideresnet[ray]'\n"
    )


@needs_ray
@pytest.mark.slow
def test_replicas_answer_exactly_as_a_single_service(server: Server, tmp_path: Path) -> None:
    with serving(tmp_path) as alone:
        expected = alone.answers()
    assert server.answers() == expected
    replicas = {server.ask("POST", "/v1/classify", EXAMPLES[0].read_bytes())[1]["x-replica"] for _ in range(50)}
    assert len(replicas) == 2


@needs_ray
@pytest.mark.slow
def test_limits_and_errors_hold_behind_the_proxy(server: Server) -> None:
    assert server.ask("POST", "/v1/classify", b"a", {})[0] == 401
    assert server.ask("GET", "/metrics", headers={})[0] == 401
    assert server.ask("GET", "/v2/health/ready", headers={})[0] == 200
    assert server.ask("POST", "/v1/classify", b"none")[0] == 400
    assert server.ask("POST", "/v1/classify", bytes(LIMIT + 1))[0] == 413
    status, headers, _ = server.ask("GET", "/nothing", headers={**TOKEN, "X-Request-ID": "mine"})
    assert (status, headers["x-request-id"]) == (404, "mine")
    assert headers["cache-control"] == "no-store"
    status, headers, _ = server.ask("PUT", "/v1/classify", b"a")
    assert (status, headers["allow"]) == (405, "POST")
    assert server.ask("HEAD", "/v1/models")[0] == 200
    assert server.ask("POST", "/v1/classify?topk=3", b"a")[0] == 422
    assert server.ask("GET", "/v2/models/stats")[0] == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        head = f"POST /v1/classify HTTP/1.1\r\nHost: a\r\nAuthorization: {TOKEN['Authorization']}\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with suppress(ConnectionError):
            while sent < 2**30:
                client.sendall(b"4000\r\n" + bytes(0x4000) + b"\r\n")
                sent += 0x4000
        assert sent < 2**30                        # the proxy reads ahead, but the answer ends it
    assert server.ask("POST", "/v1/classify", EXAMPLES[0].read_bytes())[0] == 200


@needs_ray
@pytest.mark.slow
def test_overload_is_answered_with_429_by_the_service_or_the_proxy(tmp_path: Path) -> None:
    with serving(tmp_path, "--ray", "local", "--queue", "1") as server:
        responses: list[tuple[int, str]] = []

        def ask() -> None:
            for _ in range(10):
                status, headers, _ = server.ask("POST", "/v1/classify", EXAMPLES[0].read_bytes())
                responses.append((status, headers.get("retry-after", "")))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(responses) == {(200, ""), (429, "1")}


@needs_ray
@pytest.mark.slow
def test_sigterm_answers_open_requests_and_leaves_no_process(tmp_path: Path) -> None:
    codes: list[int] = []

    def ask() -> None:
        with suppress(OSError, http.client.HTTPException):      # once there is nobody more to ask
            while not codes or codes[-1] == 200:
                codes.append(server.ask("POST", "/v1/classify", EXAMPLES[0].read_bytes())[0])

    with serving(tmp_path, "--ray", "local", "--replicas", "1:2") as server:
        children = descendants(server.process.pid)
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(codes) > 20)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(90) == 0
        for thread in threads:
            thread.join()
    assert set(codes) <= {200, 404}                # the proxy's for a service that is gone
    assert len(children) > 3
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


@needs_ray
@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_one_error_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wideresnet", "serve", "--ray", "local", "--port", "0", "-m", "no_such_model"]
    variables = {**os.environ, "WRN_OFFLINE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "error: the replicas do not start: " in done.stderr
    assert "no_such_model" in done.stderr.splitlines()[-1]


def descendants(process: int) -> set[int]:
    """Return the ids of all descendants of a process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family - {process}
