"""What a shadow costs others: ``wrn serve`` with and without ``--shadow`` in turns (A B B A), for the same requests.

    python benchmarks/serving/shadow_cost.py -m int8=wrn-int8/ -m f32=MODEL --images DIR --rate 10 -o FILE

Both servers have both models open; the one that is not measured is stopped (SIGSTOP). Requests come at random times
(Poisson, the same times in every turn) at ``--rate`` a second, since a client that sends without a pause never lets the
shadow work; ``--rate 0`` is such a client. A time counts from when a request was due, not from when a thread was free.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text

ORDER = ("without", "with", "with", "without")     # of the turns of a round
CLIENTS = 32                                       # requests at a time at most
_connections = local()


class Server:
    """A server process that is stopped while it is not measured."""

    def __init__(self, options: Sequence[str]) -> None:
        command = [sys.executable, "-m", "wideresnet", "serve", "--port", "0", *options]
        with tempfile.NamedTemporaryFile("w", suffix=".log", delete=False) as log:
            self.process = subprocess.Popen(command, stderr=log)
        while not re.search("^ready$", text := Path(log.name).read_text(), re.MULTILINE):
            if self.process.poll() is not None:
                raise SystemExit(text)
            time.sleep(0.1)
        Path(log.name).unlink()
        self.port = int(re.findall(r"http://\S+:(\d+)", text)[0])
        self.signal(signal.SIGSTOP)

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    def counts(self) -> dict[str, float]:
        """Return the metrics of the shadow, by their labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        rows = re.findall(r'^(wrn_shadow_(?:pictures|dropped)_total){(.*)} (\S+)$', text, re.MULTILINE)
        return {re.findall('(?:answers|reason)="([a-z]+)"', labels)[0]: float(value) for _, labels, value in rows}


def send(port: int, image: bytes, due: float) -> float:
    """Send an image when it is due; return the seconds until its answer."""
    time.sleep(max(0.0, due - time.perf_counter()))
    if getattr(_connections, "port", 0) != port:
        _connections.port, _connections.http = port, http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    _connections.http.request("POST", "/v1/classify", image)
    response = _connections.http.getresponse()
    response.read()
    if response.status != 200:
        raise SystemExit(f"status {response.status}")
    return time.perf_counter() - due


def turn(server: Server, images: Sequence[bytes], seconds: float, rate: float) -> dict[str, Any]:
    """Measure one server."""
    server.signal(signal.SIGCONT)
    before, rng, latencies = server.counts(), random.Random(0), list[float]()
    started = end = time.perf_counter() + 0.1
    if rate:
        due = [started]
        while due[-1] < started + seconds:
            due.append(due[-1] + rng.expovariate(rate))
        with ThreadPoolExecutor(CLIENTS) as pool:
            latencies = list(pool.map(lambda job: send(server.port, *job), zip(images * len(due), due, strict=False)))
        end = time.perf_counter()
    else:
        while end < started + seconds:
            latencies.append(send(server.port, images[len(latencies) % len(images)], max(end, time.perf_counter())))
            end = time.perf_counter()
    counts = {name: value - before.get(name, 0) for name, value in server.counts().items()}
    server.signal(signal.SIGSTOP)
    ordered = sorted(1000 * value for value in latencies)
    p50, p99 = (round(ordered[int(part * (len(ordered) - 1))], 2) for part in (0.5, 0.99))
    row = {"n": len(ordered), "images_per_s": round(len(ordered) / (end - started), 2), "p50_ms": p50, "p99_ms": p99}
    return {**row, "shadow": counts}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append", required=True, help="NAME=MODEL, twice: first and shadow")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second; 0: one client without a pause")
    parser.add_argument("--fraction", default="0.05")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    images = [path.read_bytes() for path in sorted(options.images.iterdir()) if path.is_file()]
    first, second = (model.partition("=")[0] for model in options.model)
    models = [word for model in options.model for word in ("-m", model)]
    shadow = ["--shadow", f"{first}={second}", "--shadow-fraction", options.fraction]
    servers = {"without": Server(models), "with": Server([*models, *shadow])}
    rows = []
    try:
        for name in ORDER * options.rounds:
            rows.append({"server": name, **turn(servers[name], images, options.seconds, options.rate)})
            print(rows[-1])
    finally:
        for server in servers.values():
            server.process.kill()
    settings = {"models": options.model, "rate": options.rate, "fraction": float(options.fraction)}
    save_text(options.output, json.dumps({**settings, "machine": machine_facts(), "turns": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
