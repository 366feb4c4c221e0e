"""Measure ``wrn serve`` under load in one run, in turns with what people run without it.

    python benchmarks/serving/measure.py -m MODEL --images FOLDER --others PYTHON --grpc -o FILE.json

--grpc (extra grpc) adds Python clients of the Open Inference Protocol, over HTTP and over gRPC, to the same server.
``cpu_ms`` is the CPU time of the server per request, whatever the client costs.

Needs wrk. PYTHON is an interpreter that has this package with torch, and fastapi, uvicorn[standard], python-multipart
and litserve; without --others only the service and ``wrn bench`` are measured. All servers are up all the time, each in
a process group of its own that is stopped (SIGSTOP) but for its turns. wrk runs on the same CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.tasks.load.load import ModelChoice, load_bundle

HERE = Path(__file__).parent
CLIENTS = {1: 0.5, 8: 0.5, 64: 1.0}                # at a time -> fraction of --seconds
OVERLOAD = (64, 128, 256)
PORT, GRPC_PORT = 8900, 8909
LONGEST = 24                                       # seconds of a turn, for slow servers with many clients


@dataclass
class Server:
    """A candidate: its processes, its address, and for Python clients the model's name."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    model: str = ""

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def ticks(self) -> int:
        """CPU time that its processes have used, in clock ticks."""
        used = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:                        # it has just ended
                continue
            if int(fields[2]) == self.process.pid:
                used += int(fields[11]) + int(fields[12])
        return used

    def settle(self) -> None:
        """Wait until it works no more: some go on for clients that have left."""
        before = -100
        while (now := self.ticks()) > before + 5:
            before = now
            time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure wrn serve under load.")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--others", metavar="PYTHON")
    parser.add_argument("--grpc", action="store_true", help="Python clients over HTTP and gRPC, too")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn with 64 clients")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=0, help="for the watch over memory")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    images = sorted(str(path) for path in options.images.iterdir())
    document: dict[str, Any] = {
        "machine": machine_facts(),
        "conditions": {
            "model": options.model, "pictures": len(images), "seconds": options.seconds, "rounds": options.rounds,
            "bytes": round(sum(os.path.getsize(path) for path in images) / len(images)),
            "load": "wrk, one thread, on the same CPUs; each image as a form's file",
            "versions": versions(options.others),
        },
    }  # fmt: skip
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(candidate, options.model)) for candidate in candidates(options)]
        if options.grpc:
            name, process = load_bundle(ModelChoice(options.model)).card.name, servers[0].process
            servers.append(Server("wrn serve, /v2 over HTTP", process, f"http://127.0.0.1:{PORT}", name))
            servers.append(Server("wrn serve, /v2 over gRPC", process, f"grpc://127.0.0.1:{GRPC_PORT}", name))
        for server in servers:
            server.signal(signal.SIGCONT)
            ready(server, images)
            server.signal(signal.SIGSTOP)
        document["turns"] = list(turns(servers, images, options))
        servers[0].signal(signal.SIGCONT)
        document["overload"] = [overload(servers[0], clients, images, options.seconds) for clients in OVERLOAD]
        if options.requests:
            document["memory"] = memory(servers[0], images, options.requests)
    document["machine"]["load1_after"] = os.getloadavg()[0]
    save_text(options.output, json.dumps(document, indent=1) + "\n")


def candidates(options: argparse.Namespace) -> list[tuple[str, list[str], dict[str, str], str]]:
    """Name, command, environment and path of each server; ours is the first."""
    command = [sys.executable, "-m", "wideresnet", "serve", "-m", options.model]
    command += ["--grpc-port", str(GRPC_PORT)] if options.grpc else []
    commands = [("wrn serve", command, {"WRN_SERVE_PORT": str(PORT)}, "/v1/classify")]
    if options.others:
        eager, batched = ([options.others, str(HERE / name)] for name in ("eager.py", "batched.py"))
        commands += [
            ("FastAPI, torch eager", eager, {"PORT": str(PORT + 1)}, "/predict"),
            ("LitServe, torch eager", batched, {"PORT": str(PORT + 2), "BACKEND": "torch"}, "/predict"),
            ("LitServe, wideresnet", batched, {"PORT": str(PORT + 3), "BACKEND": "wideresnet"}, "/predict"),
        ]
    return commands


@contextmanager
def serving(candidate: tuple[str, list[str], dict[str, str], str], model: str) -> Iterator[Server]:
    name, command, own, path = candidate
    card = load_bundle(ModelChoice(model)).card
    network = {
        "MODEL": model, "ARCHITECTURE": card.architecture, "CLASSES": str(card.classes),
        "RESIZE": str(card.preprocess.resize), "CROP": str(card.preprocess.crop),
    }  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **network, **own}, start_new_session=True)
    join_autogroup(process.pid)
    port = own.get("PORT", str(PORT))
    server = Server(name, process, f"http://127.0.0.1:{port}{path}")
    try:
        yield server
    finally:
        for number in (signal.SIGCONT, signal.SIGKILL):
            server.signal(number)
        process.wait()


def join_autogroup(pid: int) -> None:
    """A session has a share of the CPUs of its own; give it the same weight as this process's."""
    try:
        mine = re.search(r"nice (-?\d+)", Path("/proc/self/autogroup").read_text())
        if mine:
            Path(f"/proc/{pid}/autogroup").write_text(mine[1])
    except OSError:                                # no such thing here, or not ours to say
        return


def ready(server: Server, images: Sequence[str]) -> None:
    """Wait until it answers, and let it answer some more: what it makes at first is not measured."""
    for _ in range(240):
        try:
            if load(server, 8, 2.0, images)["images_per_s"]:      # not only refusals
                server.settle()
                return
        except subprocess.CalledProcessError:      # nobody listens yet
            time.sleep(0.5)
    raise SystemExit(f"{server.name} does not answer")


def turns(servers: Sequence[Server], images: Sequence[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every contestant with every number of clients, in each round another one first."""
    for number in range(options.rounds):
        for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
            server.signal(signal.SIGCONT)
            rate = 0.0
            for clients, fraction in CLIENTS.items():
                # Who works on all requests at once answers none for long: of each client some shall be counted.
                least = min(LONGEST, 3 * clients / rate) if rate else 0
                ticks = server.ticks()
                result = load(server, clients, max(fraction * options.seconds, least), images)
                rate = result["images_per_s"]
                server.settle()
                spent = (server.ticks() - ticks) / os.sysconf("SC_CLK_TCK")
                result["cpu_ms"] = round(1000 * spent / max(result["requests"], 1), 2)
                yield print_row({"server": server.name, "round": number, "clients": clients, **result})
            server.signal(signal.SIGSTOP)
        yield print_row({"server": "wrn bench, end to end", "round": number, **bench(options)})


def print_row(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def bench(options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "wideresnet", "bench", "-m", options.model, "--what", "end-to-end"]
    command += ["--data", str(options.images), "--seconds", str(options.seconds), "--rounds", "1"]
    done = subprocess.run([*command, "--format", "json"], stdout=subprocess.PIPE, check=True, text=True)
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    return {name: row[name] for name in ("images_per_s", "precision", "batch", "streams", "threads")}


def overload(server: Server, clients: int, images: Sequence[str], seconds: float) -> dict[str, Any]:
    """More clients than fit, all of them asking all the time."""
    result = wrk(server, clients, seconds, images, "overload.lua")
    server.settle()
    return print_row({"clients": clients, **result})


def memory(server: Server, images: Sequence[str], requests: int) -> dict[str, Any]:
    """Resident memory, in MB, as so many requests more are answered: after a tenth, and at the end."""
    marks: dict[str, float] = {}
    before = answered(server)
    for fraction in (0.1, 1.0):
        while answered(server) < before + fraction * requests:
            wrk(server, 16, 2.0, images)
        server.settle()
        marks[str(round(answered(server)))] = round(gauge(server, "process_resident_memory_bytes") / 1e6, 1)
    return print_row(marks)


def answered(server: Server) -> float:
    return gauge(server, r'wrn_requests_total\{model="[^"]+",route="/v1/classify",status="200"\}')


def gauge(server: Server, pattern: str) -> float:
    with urllib.request.urlopen(server.url.replace("/v1/classify", "/metrics")) as answer:
        match = re.search(rf"^{pattern} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(match[1]) if match else 0.0


def load(server: Server, clients: int, seconds: float, images: Sequence[str]) -> dict[str, Any]:
    """The results of ``clients`` that ask again as soon as they are answered."""
    if not server.model:
        return wrk(server, clients, seconds, images)
    command = [sys.executable, str(HERE / "python_load.py"), server.url, server.model, str(clients), str(seconds)]
    done = subprocess.run([*command, *images], stdout=subprocess.PIPE, check=True, text=True)
    return with_rate(json.loads(done.stdout))


def with_rate(result: dict[str, Any], per_request: int = 1) -> dict[str, Any]:
    result["images_per_s"] = round(per_request * (result["requests"] - result["refused"]) / result["seconds"], 2)
    return result


def wrk(
    server: Server,
    clients: int,
    seconds: float,
    images: Sequence[str],
    script: str = "images.lua",
    per_request: int = 1,
) -> dict[str, Any]:
    """What wrk's script says of ``clients`` that ask again as soon as they are answered."""
    command = ["env", f"IMAGES_PER_REQUEST={per_request}"]
    command += ["wrk", "-t1", f"-c{clients}", f"-d{round(seconds)}s", "--timeout", "60s", "-s", str(HERE / script)]
    done = subprocess.run([*command, server.url, "--", *images], capture_output=True, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return with_rate(result, per_request) if "requests" in result else result


def versions(python: str | None) -> dict[str, str]:
    """Of the load generator and the alternatives."""
    result = {"wrk": subprocess.run(["wrk", "-v"], stdout=subprocess.PIPE, text=True).stdout.split()[1]}
    if python:
        names = ("fastapi", "litserve", "uvicorn", "uvloop", "torch")
        code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
        result |= json.loads(subprocess.run([python, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout)
    return result


if __name__ == "__main__":
    main()
