"""``wrn serve`` as a process, for tests."""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fakes import tiny_bundle, tiny_images, tiny_tensors
from wideresnet.architectures import get_architecture
from wideresnet.bundle import make_bundle, write_bundle
from wideresnet.datasets.labels import read_labels


@dataclass
class Server:
    """A server process, its port, and its log (stderr)."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def open_connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = self.open_connection()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def grpc_address(self) -> str:
        self.until(lambda: re.search("grpcs?://", self.log.read_text()) is not None)
        return re.findall(r"grpcs?://(.*)", self.log.read_text())[0]

    def workers(self) -> set[int]:
        """The processes that share the ports, with --workers on Linux."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def gauge(self, name: str) -> float:
        match = re.search(rf"^{name} (\S+)$", self.ask("GET", "/metrics")[1].decode(), re.MULTILINE)
        assert match, name
        return float(match[1])

    @property
    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/v2/health/ready")[0] == 200
        except ConnectionError:                    # the port of workers opens with their models
            return False

    def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.02)

    def until_empty(self) -> None:
        names = ("wrn_requests_in_flight", "wrn_queue_depth", "wrn_body_bytes")
        self.until(lambda: not any(map(self.gauge, names)))


@contextmanager
def serving(
    folder: Path, *options: str, kind: type[Server] = Server, **environment: str
) -> Iterator[Server]:
    command = [sys.executable, "-W", "error", "-m", "wideresnet", "serve", "-m", "tiny", "--port", "0", *options]
    variables = {**os.environ, "WRN_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment}
    log = folder / "log.txt"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=variables, stderr=stderr)
    server = kind(process, 0, log)
    try:
        server.until(lambda: "\n" in log.read_text())
        server.port = int(log.read_text().splitlines()[0].rpartition(":")[2])
        server.until(lambda: server.is_ready, 90)
        yield server
    finally:
        process.kill()
        process.wait()


def write_tiny(folder: Path, seed: int = 0) -> None:
    bundle = tiny_bundle()
    if seed:
        architecture = get_architecture("wrn_10_1")
        bundle = make_bundle(architecture, tiny_tensors(architecture, seed), bundle.card, read_labels("cifar10"))
    write_bundle(folder / "tiny", bundle)


def image(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tiny_images(seed + 1, 32)[seed]).save(file, "PNG")
    return file.getvalue()
