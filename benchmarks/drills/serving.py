"""Drills of the service on Ray Serve under load: a node is killed, and the head is killed and begun again.

    python benchmarks/drills/serving.py -o FILE.json

Every "node" is a ``ray start`` of its own on this machine (a head without CPUs, and two nodes with two each), and the
load is one image a request, from clients that try again as ``wideresnet.Client``
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
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from hosts import Host
from nodes import Cluster, free_port, read, wait
from PIL import Image

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text

REPLICAS, CLIENTS, IMAGES = 2, 8, 40
RETRIES, AGAIN = 6, {0, 429, 503}                  # wideresnet.Client's; 0 is no connection
RECONNECT = 10                                     # requests
PROXYS_OWN = 500                                   # without a document of ours: the replica was lost on the way
OPTIONS = ["--threads", "1", "--drain", "10"]      # of both services, so that even what they say of the engine is equal


@dataclass
class Load:
    """Clients that ask one image after another, and what became of it."""

    address: str
    images: list[bytes]
    expected: list[Any]
    host: Host | None = None                       # where the clients are; none: here
    pause: float = 0                               # seconds of a client between an answer and the next question
    requests: int = 0
    answered: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    asked_once_more: Counter[str] = field(default_factory=Counter)
    history: list[tuple[float, float, str]] = field(default_factory=list)     # began, answered, by which replica
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
        if self.host:
            self.host.enter()
        chance = random.Random(number)
        connection = http.client.HTTPConnection(self.address, timeout=60)
        while not self._ended.is_set():
            if self.requests % RECONNECT == 0:     # so that every proxy gets its share
                connection.close()
            index = chance.randrange(len(self.images))
            began = time.monotonic()
            status, replica, body = self._ask(connection, self.images[index])
            lost = status == PROXYS_OWN and b"urn:wideresnet:problem" not in body
            with self._lock:
                self._count(index, status, body)
                self.history.append((began, time.monotonic(), replica if status == 200 else ""))
            if lost:
                more, _, _ = self._ask(connection, self.images[index])
                with self._lock:
                    self.asked_once_more[str(more)] += 1
            self._ended.wait(self.pause)
        connection.close()

    def _count(self, index: int, status: int, body: bytes) -> None:
        self.requests += 1
        if status == 200:
            self.answered += 1
            self.wrong += timeless(body) != self.expected[index]
        else:
            self.failed[f"{status} {body[:60].decode('utf-8', 'replace')}"] += 1

    def _ask(self, connection: http.client.HTTPConnection, image: bytes) -> tuple[int, str, bytes]:
        """The last answer to an image, after as many tries as ``wideresnet.Client`` makes."""
        for attempt in range(RETRIES + 1):
            try:
                connection.request("POST", "/v1/classify", image)
                answer = connection.getresponse()
                response = answer.status, answer.headers.get("X-Replica", ""), answer.read()
                delay = answer.headers.get("Retry-After", "")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                response, delay = (0, "", repr(error).encode()), ""
            if response[0] not in AGAIN or attempt == RETRIES:
                break
            with self._lock:
                self.again[str(response[0] or "no connection")] += 1
            time.sleep(max(min(10.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0), float(delay or 0)))
        return response

    def replicas(self, since: float) -> dict[str, float]:
        """Who answered what was asked since then, each with the time of its first answer."""
        with self._lock:
            first: dict[str, float] = {}
            for began, answered, replica in self.history:
                if replica and began >= since:
                    first.setdefault(replica, answered)
            return first

    def facts(self, event: float) -> dict[str, Any]:
        """What is counted, with the times in seconds from ``event`` on."""
        times = sorted(answered for _, answered, replica in self.history if replica)
        after = [moment for moment in times if moment > event]
        before = [moment for moment in times if moment <= event]
        gaps = np.diff([event, *after, time.monotonic()])
        return {
            "requests": self.requests,
            "answered": self.answered,
            "wrong_answers": self.wrong,
            "tried_again_by_the_client": dict(self.again),
            "failed_for_the_client": dict(self.failed),
            "of_a_lost_replica_asked_once_more": dict(self.asked_once_more),
            "longest_request_seconds": round(max(answered - began for began, answered, _ in self.history), 2),
            "longest_without_any_answer_seconds": round(float(gaps.max()), 2),
            "answers_per_second_before": round(len(before) / (event - min(before)), 1),
            "answers_per_second_in_the_last_10_s": round(sum(moment > times[-1] - 10 for moment in times) / 10, 1),
        }


def drill_node(load: Load, cluster: Cluster, seconds: float) -> dict[str, Any]:
    """One of two nodes is killed; the other one has CPUs for the replicas of both."""
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
    """The head is killed and restarted with the same command; then a replica is killed, which has to be replaced."""
    time.sleep(seconds)
    event = time.monotonic()
    killed = cluster.nodes.pop(0).kill()
    time.sleep(seconds)
    without = sum(began > event and bool(replica) for began, _, replica in load.history)
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
    everything = [process for node in cluster.nodes for process in node.processes()]
    if replicas := [process for process in everything if b"ServeReplica" in read(process, "cmdline")]:
        earlier, then = set(load.replicas(0)), time.monotonic()
        os.kill(replicas[0], signal.SIGKILL)
        new = wait(lambda: [at for who, at in load.replicas(then).items() if who not in earlier], 120)
        facts["replica_killed_then_is_replaced_after_seconds"] = round(new[0] - then, 1) if new else None
    return {**facts, **load.facts(event)}


@dataclass(frozen=True)
class Stage:
    """Where a drill takes place."""

    storage: str = "memory"                        # of what the head knows
    cpus: tuple[int, ...] = (2, 2)                 # of each node
    replicas: str = str(REPLICAS)
    hosts: Sequence[Host] = ()                     # the head's, each node's, and the clients'; none: the loopback


def run(drill: Drill, stage: Stage, seconds: float) -> dict[str, Any]:
    """A drill on a cluster of its own, which is gone afterwards whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="wrn-drill-"))
    head, clients = (stage.hosts[0], stage.hosts[-1]) if stage.hosts else (None, None)
    cluster = Cluster(folder, stage.storage, stage.hosts)
    try:
        images = [noise(number) for number in range(IMAGES)]
        with service(folder, OPTIONS, {}) as (port, _):
            expected = [timeless(ask(port, image)) for image in images]
        cluster.start_head()
        for cpus in stage.cpus:
            cluster.start_node(cpus)
        fleet = ["--ray", cluster.address, "--replicas", stage.replicas, "--cpus", "1"]
        with service(folder, [*OPTIONS, *fleet], cluster.environment, head) as (port, process):
            load = Load(f"{head.address if head else '127.0.0.1'}:{port}", images, expected, clients)
            with load.running():
                facts = drill(load, cluster, seconds)
            facts["wrn_serve_lived_on"] = process.poll() is None
            process.send_signal(signal.SIGTERM)
            facts["wrn_serve_exit_code"] = wait(lambda: str(ended) if (ended := process.poll()) is not None else "", 90)
        facts["wrn_serve_said"] = (folder / "serve.txt").read_text().splitlines()[-3:]
        facts["starts_that_failed"] = cluster.starts_that_failed
        return {"drill": " ".join((drill.__doc__ or "").split()), "gcs_storage": stage.storage, **facts}
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(
    folder: Path, options: list[str], environment: dict[str, str], host: Host | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``wrn serve`` and its port, once it is ready; killed in the end if it still runs."""
    log, port = folder / "serve.txt", free_port()
    command = [sys.executable, "-m", "wideresnet", "serve", "--port", str(port), *options]
    if host:
        command = host.command([*command, "--host", "0.0.0.0"])
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


def ask(port: int, image: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/classify", image)
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
    """An image that no other one's answer fits."""
    file = io.BytesIO()
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(small).resize((320, 240), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def until(true: Callable[[], bool], seconds: float, otherwise: str) -> None:
    assert wait(true, seconds), otherwise


Drill = Callable[[Load, Cluster, float], dict[str, Any]]
Staged = Callable[[float], dict[str, Any]]
DRILLS: dict[str, Staged] = {
    "node": partial(run, drill_node, Stage()),
    "head": partial(run, drill_head, Stage("rocksdb")),
    "head-in-memory": partial(run, drill_head, Stage()),
}


def main(drills: dict[str, Staged], script: str, description: str | None) -> None:
    """The command of a script of such drills."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", choices=drills, action="append", help="may be repeated; all without it")
    parser.add_argument("--seconds", type=float, default=20, help="of load before and after what happens")
    arguments = parser.parse_args()
    os.environ["WRN_OFFLINE"] = "1"
    facts = {
        "command": " ".join(["python", f"benchmarks/drills/{script}", *sys.argv[1:]]),
        "machine": machine_facts(),
        "ray": metadata.version("ray"),
        "replicas": REPLICAS,
        "clients": CLIENTS,
    }
    done = []
    for name in arguments.only or drills:
        done.append(drills[name](arguments.seconds))
        print(json.dumps(done[-1], indent=1), flush=True)
        save_text(arguments.output, json.dumps({**facts, "drills": done}, indent=1) + "\n")


if __name__ == "__main__":
    main(DRILLS, Path(__file__).name, __doc__)
