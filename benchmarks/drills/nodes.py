"""Ray nodes as a person begins them: each a ``ray start`` of its own, with all that comes of it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hosts import Host

MARK = "WRN_DRILL_NODE"                            # in the environment of every process of a node
STARTS = 4                                         # of a node, before the drill is given up


class NotStarted(Exception):
    """What ``ray start`` said."""


class Node:
    """A ``ray start`` and all that it began, known by a mark that they inherit."""

    def __init__(self, options: list[str], environment: dict[str, str], log: Path, host: Host | None = None) -> None:
        self._mark = secrets.token_hex(8)
        own = ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        where = [f"--node-ip-address={host.address}"] if host else [f"--dashboard-agent-listen-port={free_port()}"]
        ray = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
        command = [*ray, *own, *where, *options]
        with log.open("wb") as output:
            self._start = subprocess.Popen(
                host.command(command) if host else command, env={**environment, MARK: self._mark}, stdout=output,
                stderr=output,
            )  # fmt: skip
        try:
            wait(lambda: self._start.poll() is not None or "Ray runtime started" in log.read_text(), 300)
            if self._start.poll() is not None or "Ray runtime started" not in log.read_text():
                raise NotStarted(log.read_text()[-2000:])
        except BaseException:
            self.kill()
            raise

    def running(self) -> bool:
        return self._start.poll() is None

    def processes(self) -> list[int]:
        return [process for process in processes() if f"{MARK}={self._mark}".encode() in read(process, "environ")]

    def kill(self) -> int:
        """SIGKILL to all of it at once; how many processes it had."""
        count = 0
        while alive := [process for process in self.processes() if read(process, "cmdline")]:       # a zombie has none
            for process in alive:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            count = count or len(alive)
            time.sleep(0.1)
        self._start.wait()
        return count


class Cluster:
    """A head and nodes; what the head knows is in a folder, or in its memory only.

    The head is in the first of ``hosts``, each node in the next one; without hosts all are on the loopback.
    """

    def __init__(self, folder: Path, storage: str = "memory", hosts: Sequence[Host] = ()) -> None:
        self._folder, self.hosts, self.port = folder, hosts, free_port()
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        if storage == "rocksdb":
            own |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder / "gcs")}
        self.environment = {**os.environ, **own}
        self.starts_that_failed = 0
        self.nodes: list[Node] = []

    @property
    def address(self) -> str:
        return f"{self.hosts[0].address if self.hosts else '127.0.0.1'}:{self.port}"

    def start_head(self) -> None:
        # A head that comes back finds the nodes of "other machines" on its own here, and takes them for itself.
        (self._folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        head = ["--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false"]
        own = [] if self.hosts else [f"--temp-dir={self._folder / 'ray'}"]
        self.nodes.insert(0, self._begin([*head, *own], 0))

    def start_node(self, cpus: int = 2) -> None:
        self.nodes.append(self._begin([f"--address={self.address}", f"--num-cpus={cpus}"], len(self.nodes)))

    def _begin(self, options: list[str], index: int) -> Node:
        # Ray gives a start 30 s, which is little on a busy machine; whatever keeps nodes alive would try again too.
        for attempt in range(1, STARTS + 1):
            try:
                host = self.hosts[index] if self.hosts else None
                return Node(options, self.environment, self._folder / f"node{index}.txt", host)
            except NotStarted:
                self.starts_that_failed += 1
                if attempt == STARTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


def processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def read(process: int, file: str) -> bytes:
    """One of Linux's files about a process; empty once it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/{file}").read_bytes()
    return b""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait(value: Callable[[], Any], seconds: float) -> Any:
    """The first value that is something, or the last one."""
    end = time.monotonic() + seconds
    while not (result := value()) and time.monotonic() < end:
        time.sleep(0.2)
    return result
