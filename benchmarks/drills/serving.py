"""Drills of the service on Ray Serve under load: a node is killed, and the head is killed and begun again.

    python benchmarks/drills/serving.py -o FILE.json

Every "node" is a ``ray start`` of its own on this machine (a head without CPUs, and two nodes with two each), and the
load is one picture a request, from clients that try again as ``wideresnet.Client``
does. All proxies share one port, as they would stand behind one address. Killed means SIGKILL to every process of the
node. Each answer is compared with that of ``wrn serve`` alone, all fields but the times.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wideresnet.machine import machine_facts

REPLICAS, CLIENTS, PICTURES = 2, 8, 40
RETRIES, AGAIN = 6, {0, 429, 503}                  # wideresnet.Client's; 0 is no connection
RECONNECT = 10                                     # requests
PROXYS_OWN = 500                                   # without a document of ours: the replica was lost on the way
OPTIONS = ["--threads", "1", "--drain", "10"]      # of both services, so that even what they say of the engine is equal
MARK = "WRN_DRILL_NODE"                            # in the environment of every process of a node
STARTS = 4                                         # of a node, before the drill is given up


class NotStarted(Exception):
    """What ``ray start`` said."""


class Node:
    """A ``ray start`` and all that it began, known by a mark that they inherit."""

    def __init__(self, options: list[str], environment: dict[str, str], log: Path) -> None:
        self._mark = secrets.token_hex(8)
        own = ["--object-store-memory=100000000", "--min-worker-port=0", "--max-worker-port=0"]
        ports = [f"--dashboard-agent-listen-port={free_port()}"]
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
        with log.open("wb") as output:
            self._start = subprocess.Popen(
                [*command, *own, *ports, *options], env={**environment, MARK: self._mark}, stdout=output, stderr=output
            )
        try:
            wait(lambda: self._start.poll() is not None or "Ray runtime started" in log.read_text(), 300)
            if self._start.poll() is not None or "Ray runtime started" not in log.read_text():
                raise NotStarted(log.read_text()[-2000:])
        except BaseException:
            self.kill()
            raise

    def processes(self) -> list[int]:
        return [each for each in processes() if f"{MARK}={self._mark}".encode() in read(each, "environ")]

    def kill(self) -> int:
        """SIGKILL to all of it at once; how many processes it had."""
        count = 0
        while found := [each for each in self.processes() if read(each, "cmdline")]:       # a zombie has none
            for each in found:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            count = count or len(found)
            time.sleep(0.1)
        self._start.wait()
        return count


class Cluster:
    """A head and nodes; what the head knows is in a folder, or in its memory only."""

    def __init__(self, folder: Path, storage: str) -> None:
        self._folder, self.port = folder, free_port()
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        if storage == "rocksdb":
            own |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder / "gcs")}
        self.environment = {**os.environ, **own}
        self.starts_that_failed = 0
        self.nodes: list[Node] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start_head(self) -> None:
        # A head that comes back finds the nodes of "other machines" on its own here, and takes them for itself.
        (self._folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        head = ["--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false"]
        self._begin([*head, f"--temp-dir={self._folder / 'ray'}"])

    def start_node(self) -> None:
        self._begin([f"--address={self.address}", "--num-cpus=2"])

    def _begin(self, options: list[str]) -> None:
        # Ray gives a start 30 s, which is little on a busy machine; whatever keeps nodes alive would try again too.
        for attempt in range(1, STARTS + 1):
            try:
                self.nodes.append(Node(options, self.environment, self._folder / "node.txt"))
                return
            except NotStarted:
                self.starts_that_failed += 1
                if attempt == STARTS:
                    raise

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


@dataclass
class Load:
    """Clients that ask one picture after another, and what became of it."""

    port: int
    pictures: list[bytes]
    expected: list[Any]
    requests: int = 0
    answered: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    asked_once_more: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[float, float, str]] = field(default_factory=list)     # began, answered, by which replica
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask_on, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def _ask_on(self, number: int) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._ended.is_set():
            if self.requests % RECONNECT == 0:     # so that every proxy gets its share
                connection.close()
            place = chance.randrange(len(self.pictures))
            began = time.monotonic()
            status, replica, body = self._ask(connection, self.pictures[place])
            lost = status == PROXYS_OWN and b"urn:wideresnet:problem" not in body
            with self._lock:
                self._count(place, status, body)
                self.seen.append((began, time.monotonic(), replica if status == 200 else ""))
            if lost:
                more, _, _ = self._ask(connection, self.pictures[place])
                with self._lock:
                    self.asked_once_more[str(more)] += 1
        connection.close()

    def _count(self, place: int, status: int, body: bytes) -> None:
        self.requests += 1
        if status == 200:
            self.answered += 1
            self.wrong += timeless(body) != self.expected[place]
        else:
            self.failed[f"{status} {body[:60].decode('utf-8', 'replace')}"] += 1

    def _ask(self, connection: http.client.HTTPConnection, picture: bytes) -> tuple[int, str, bytes]:
        """The last answer to a picture, after as many tries as ``wideresnet.Client`` makes."""
        for attempt in range(RETRIES + 1):
            try:
                connection.request("POST", "/v1/classify", picture)
                answer = connection.getresponse()
                found = answer.status, answer.headers.get("X-Replica", ""), answer.read()
                asked = answer.headers.get("Retry-After", "")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                found, asked = (0, "", repr(error).encode()), ""
            if found[0] not in AGAIN or attempt == RETRIES:
                break
            with self._lock:
                self.again[str(found[0] or "no connection")] += 1
            time.sleep(max(min(10.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0), float(asked or 0)))
        return found

    def replicas(self, since: float) -> dict[str, float]:
        """Who answered what was asked since then, each with the time of its first answer."""
        with self._lock:
            found: dict[str, float] = {}
            for began, answered, replica in self.seen:
                if replica and began >= since:
                    found.setdefault(replica, answered)
            return found

    def facts(self, event: float) -> dict[str, Any]:
        """What is counted, with the times in seconds from ``event`` on."""
        times = sorted(answered for _, answered, replica in self.seen if replica)
        after = [each for each in times if each > event]
        before = [each for each in times if each <= event]
        gaps = np.diff([event, *after, time.monotonic()])
        return {
            "requests": self.requests,
            "answered": self.answered,
            "wrong_answers": self.wrong,
            "tried_again_by_the_client": dict(self.again),
            "failed_for_the_client": dict(self.failed),
            "of_a_lost_replica_asked_once_more": dict(self.asked_once_more),
            "longest_request_seconds": round(max(answered - began for began, answered, _ in self.seen), 2),
            "longest_without_any_answer_seconds": round(float(gaps.max()), 2),
            "answers_per_second_before": round(len(before) / (event - min(before)), 1),
            "answers_per_second_in_the_last_10_s": round(sum(each > times[-1] - 10 for each in times) / 10, 1),
        }


def drill_node(load: Load, cluster: Cluster, seconds: float) -> dict[str, Any]:
    """One of two nodes is killed; the other has room for the replicas of both."""
    time.sleep(seconds)
    before = set(load.replicas(0))
    event = time.monotonic()
    killed = cluster.nodes.pop().kill()
    full = wait(lambda: sorted(load.replicas(event + 0.5).values())[REPLICAS - 1 :], 120)
    time.sleep(seconds)
    after = set(load.replicas(event + 0.5))
    return {
        "processes_killed": killed,
        "replicas_before": len(before),
        "replicas_lost": len(before - after),
        "replicas_new": len(after - before),
        "full_strength_after_seconds": round(full[0] - event, 1) if full else None,
        **load.facts(event),
    }


def drill_head(load: Load, cluster: Cluster, seconds: float) -> dict[str, Any]:
    """The head is killed and begun again with the same command; then a replica is, to see who replaces it."""
    time.sleep(seconds)
    event = time.monotonic()
    killed = cluster.nodes.pop(0).kill()
    time.sleep(seconds)
    without = sum(began > event and bool(replica) for began, _, replica in load.seen)
    begun = time.monotonic()
    cluster.start_head()
    returned = time.monotonic()
    time.sleep(3 * seconds)
    stale = time.monotonic() - seconds
    facts = {
        "processes_killed": killed,
        "head_begun_again_after_seconds": round(begun - event, 1),
        "answers_until_then": without,
        "head_there_again_after_seconds": round(returned - event, 1),
        "replicas_that_answer_long_after": len(load.replicas(stale)),
    }
    everything = [each for node in cluster.nodes for each in node.processes()]
    if replicas := [each for each in everything if b"ServeReplica" in read(each, "cmdline")]:
        known, then = set(load.replicas(0)), time.monotonic()
        os.kill(replicas[0], signal.SIGKILL)
        new = wait(lambda: [at for who, at in load.replicas(then).items() if who not in known], 120)
        facts["replica_killed_then_is_replaced_after_seconds"] = round(new[0] - then, 1) if new else None
    return {**facts, **load.facts(event)}


def run(drill: Callable[[Load, Cluster, float], dict[str, Any]], storage: str, seconds: float) -> dict[str, Any]:
    """A drill on a cluster of its own, which is gone afterwards whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="wrn-drill-"))
    cluster = Cluster(folder, storage)
    try:
        pictures = [noise(number) for number in range(PICTURES)]
        with service(folder, OPTIONS, {}) as (port, _):
            expected = [timeless(ask(port, picture)) for picture in pictures]
        for start in (cluster.start_head, cluster.start_node, cluster.start_node):
            start()
        fleet = ["--ray", cluster.address, "--replicas", str(REPLICAS), "--cpus", "1"]
        with service(folder, [*OPTIONS, *fleet], cluster.environment) as (port, process):
            load = Load(port, pictures, expected)
            with load.running():
                facts = drill(load, cluster, seconds)
            facts["wrn_serve_lived_on"] = process.poll() is None
            process.send_signal(signal.SIGTERM)
            facts["wrn_serve_exit_code"] = wait(lambda: str(ended) if (ended := process.poll()) is not None else "", 90)
        facts["wrn_serve_said"] = (folder / "serve.txt").read_text().splitlines()[-3:]
        facts["starts_that_failed"] = cluster.starts_that_failed
        return {"drill": (drill.__doc__ or "").strip(), "gcs_storage": storage, **facts}
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(
    folder: Path, options: list[str], environment: dict[str, str]
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``wrn serve`` and its port, once it is ready; killed in the end if it still runs."""
    log, port = folder / "serve.txt", free_port()
    command = [sys.executable, "-m", "wideresnet", "serve", "--port", str(port), *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=stderr)
    try:
        until(
            lambda: process.poll() is not None or re.search("^ready$", log.read_text(), re.MULTILINE) is not None,
            300, "the service did not start",
        )  # fmt: skip
        assert process.poll() is None, log.read_text()
        yield port, process
    finally:
        process.kill()
        process.wait()


def ask(port: int, picture: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/classify", picture)
    answer = connection.getresponse()
    assert answer.status == 200
    body = answer.read()
    connection.close()
    return body


def timeless(body: bytes) -> Any:
    document = json.loads(body)
    del document["milliseconds"]
    return document


def noise(seed: int) -> bytes:
    """A picture that no other one's answer fits."""
    file = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


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


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    assert wait(true, seconds), otherwise


def wait(value: Callable[[], Any], seconds: float) -> Any:
    """The first value that is something, or the last one."""
    end = time.monotonic() + seconds
    while not (found := value()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


DRILLS: dict[str, tuple[Callable[[Load, Cluster, float], dict[str, Any]], str]] = {
    "node": (drill_node, "memory"),
    "head": (drill_head, "rocksdb"),
    "head-in-memory": (drill_head, "memory"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", choices=DRILLS, action="append", help="may be repeated; all without it")
    parser.add_argument("--seconds", type=float, default=20, help="of load before and after what happens")
    given = parser.parse_args()
    os.environ["WRN_OFFLINE"] = "1"
    facts = {
        "command": " ".join(["python", "benchmarks/drills/serving.py", *sys.argv[1:]]),
        "machine": machine_facts(),
        "ray": metadata.version("ray"),
        "replicas": REPLICAS,
        "clients": CLIENTS,
    }
    drills = []
    for name in given.only or DRILLS:
        drills.append(run(*DRILLS[name], given.seconds))
        print(json.dumps(drills[-1], indent=1), flush=True)
    given.output.write_text(json.dumps({**facts, "drills": drills}, indent=1) + "\n")


if __name__ == "__main__":
    main()
