"""Failure drills of bulk work on a Ray cluster of several node processes on this machine.

    python benchmarks/drills/bulk.py FOLDER [--drill NAME …] -o FILE.json

FOLDER holds some hundreds of images. Every drill runs ``wrn classify FOLDER --ray …`` as anyone would, lets something
go wrong in the middle, and compares the answers with those of a run without a cluster, row for row. Needs the extra
``ray``; the drill "store" needs moto[server], "disk" needs root and unshare, on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
os.environ["RAY_raylet_start_wait_time_s"] = "300"      # noqa: SIM112 (Ray spells it so)

import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text

WRN = [sys.executable, "-m", "wideresnet"]
SHARD = 32
WAIT = 300                                         # seconds for anything
STORE = 80_000_000                                 # bytes of a node's object store
KEYS = {"AWS_ACCESS_KEY_ID": "drill", "AWS_SECRET_ACCESS_KEY": "drill", "AWS_EC2_METADATA_DISABLED": "true"}
HEAD = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}

Facts = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """The inputs of a drill."""

    images: Path
    scratch: Path
    expected: list[dict[str, Any]]                 # the rows of a run without a cluster


@contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[Cluster]:
    """A head without CPUs, and ``nodes`` more."""
    own = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        for _ in range(nodes):
            own.add_node(num_cpus=cpus, object_store_memory=STORE)
        own.wait_for_nodes()
        yield own
    finally:
        own.shutdown()


Drills = dict[str, Callable[[Setup], Facts]]


def command(
    images: Path | str, address: str, output: str | Path, verb: str = "classify", more: Sequence[str] = ()
) -> list[str]:
    return [*WRN, verb, str(images), "--ray", address, "--cpus", "1", "--shard-size", str(SHARD),
            "-o", str(output), "--format", "json", *more]  # fmt: skip


def start(arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def finish(run: subprocess.Popen[str]) -> Facts:
    """Its exit code, what it said, and its own report."""
    out, err = run.communicate(timeout=WAIT)
    facts: Facts = {"exit_code": run.returncode, "report": json.loads(out) if out.strip() else None}
    if facts["report"] is None:
        facts["stderr"] = [line for line in err.splitlines() if line.strip()][-4:]
    return facts


def wait_for(is_done: Callable[[], object], run: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + WAIT
    while not is_done():
        if run is not None and run.poll() is not None:
            raise SystemExit(f"it ended too soon: {run.communicate()}")
        if time.monotonic() > end:
            raise SystemExit("waited in vain")
        time.sleep(0.05)


def parts(output: Path) -> list[Path]:
    return sorted(output.glob("part-*.parquet"))


def rows(output: Path) -> list[dict[str, Any]]:
    return [row for part in parts(output) for row in pq.read_table(part).to_pylist()]


def compare(results: list[dict[str, Any]], setup: Setup) -> Facts:
    """Whether nothing is lost, nothing doubled, and everything equal."""
    paths = [row["path"] for row in results if row["rank"] in (1, None)]
    expected = {row["path"] for row in setup.expected}
    return {
        "pictures": len(paths), "lost": len(expected - set(paths)), "doubled": len(paths) - len(set(paths)),
        "equal_to_local": results == setup.expected,
    }  # fmt: skip


def drill_node(setup: Setup) -> Facts:
    """One node is killed (SIGKILL) after a quarter of the shards."""
    output = setup.scratch / "node"
    with cluster(3) as own:
        run = start(command(setup.images, own.address, output))
        wait_for(lambda: len(parts(output)) * SHARD * 4 >= len(setup.expected) / 5, run)
        before = len(parts(output))
        own.remove_node(sorted(own.worker_nodes, key=str)[0], allow_graceful=False)
        facts = finish(run)
    return {**facts, "parts_before": before, **compare(rows(output), setup)}


def drill_driver(setup: Setup) -> Facts:
    """The command itself is killed (SIGKILL) and restarted."""
    output = setup.scratch / "driver"
    with cluster(2) as own:
        run = start(command(setup.images, own.address, output))
        wait_for(lambda: len(parts(output)) >= 3, run)
        run.kill()
        run.communicate()
        time.sleep(2)
        finished = len(parts(output))
        facts = finish(start(command(setup.images, own.address, output)))
    return {**facts, "parts_kept": finished, **compare(rows(output), setup)}


def drill_head(setup: Setup) -> Facts:
    """The head node is killed (SIGKILL) during the run; a new cluster is started and the command repeated."""
    output = setup.scratch / "head"
    own = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        for _ in range(2):
            own.add_node(num_cpus=1, object_store_memory=STORE)
        run = start(command(setup.images, own.address, output))
        wait_for(lambda: len(parts(output)) >= 3, run)
        own.head_node.kill_gcs_server(check_alive=False)
        began = time.monotonic()
        own.head_node.kill_raylet(check_alive=False)
        first = finish(run)
        seconds = time.monotonic() - began
    finally:
        own.shutdown()
    finished = len(parts(output))
    with cluster(2) as own:
        facts = finish(start(command(setup.images, own.address, output)))
    return {
        "first_exit_code": first["exit_code"], "first_stderr": first.get("stderr"), "seconds_until_it_ended": seconds,
        "parts_kept": finished, **facts, **compare(rows(output), setup),
    }  # fmt: skip


POISON = '''
import os
from PIL import JpegImagePlugin
begin = JpegImagePlugin.JpegImageFile.__init__
def begin_or_die(self, file=None, name=None):
    if hasattr(file, "getvalue") and file.getvalue().endswith(b"poison"):
        os.abort()
    begin(self, file, name)
JpegImagePlugin.JpegImageFile.__init__ = begin_or_die
'''


def drill_poison(setup: Setup) -> Facts:
    """One image crashes every process that decodes it; simulated by a decoder that aborts on its last bytes."""
    images, site, output = setup.scratch / "pictures", setup.scratch / "site", setup.scratch / "poison"
    site.mkdir()
    (site / "sitecustomize.py").write_text(POISON)
    shutil.copytree(setup.images, images)
    first = sorted(images.rglob("*.*"))[SHARD + 3]
    first.with_name("poison.jpg").write_bytes(first.read_bytes() + b"poison")
    os.environ["PYTHONPATH"] = str(site)           # of the nodes and what they start
    try:
        with cluster(2) as own:
            del os.environ["PYTHONPATH"]
            facts = finish(start(command(images, own.address, output)))
    finally:
        os.environ.pop("PYTHONPATH", None)
    results = rows(output)
    failed = [row for row in results if row["error"]]
    answered = [{**row, "path": Path(row["path"]).name} for row in results if not row["error"]]
    expected = [{**row, "path": Path(row["path"]).name} for row in setup.expected if not row["error"]]
    return {
        **facts, "failed": [(Path(row["path"]).name, row["error"]) for row in failed],
        "pictures": len({row["path"] for row in results}),
        "lost": len({row["path"] for row in expected} - {row["path"] for row in answered}),
        "doubled": len(answered) - len({(row["path"], row["rank"]) for row in answered}),
        "equal_to_local": sorted(answered, key=str) == sorted(expected, key=str),
    }  # fmt: skip


def drill_disk(setup: Setup) -> Facts:
    """The output disk of one node is full; simulated by a full tmpfs in its own mount namespace."""
    output = setup.scratch / "disk"
    output.mkdir()
    with cluster(1) as own:
        ray = [str(Path(sys.executable).with_name("ray")), "start", f"--address={own.address}", "--num-cpus=1",
               f"--object-store-memory={STORE}", "--block"]  # fmt: skip
        small = f"mount -t tmpfs -o size=4k tmpfs {output} && exec {' '.join(ray)}"
        node = subprocess.Popen(["unshare", "-m", "sh", "-c", small], start_new_session=True, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: sum(node["Alive"] for node in own.global_state.node_table()) == 3)
            facts = finish(start(command(setup.images, own.address, output)))
        finally:
            os.killpg(node.pid, signal.SIGTERM)
            node.wait()
    return {**facts, **compare(rows(output), setup)}


class Refusing:
    """A TCP proxy before a store, that answers 503 to everything while ``refusing`` is set."""

    ANSWER = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def __init__(self, port: int) -> None:
        self.behind, self.refusing, self.refused = port, threading.Event(), 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            if self.refusing.is_set():
                self.refused += 1
                with suppress(OSError):
                    client.recv(65536)
                    client.sendall(self.ANSWER)
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.behind))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self.refusing.is_set():
                target.sendall(data)
        for connection in (source, target):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def drill_store(setup: Setup) -> Facts:
    """Images and results are in an S3 store (moto) that rejects all requests for 20 seconds during the run."""
    from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

    os.environ.update(KEYS)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    moto = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stderr=subprocess.DEVNULL)
    proxy = Refusing(port)

    def uri(folder: str) -> str:
        return stored_at(f"127.0.0.1:{proxy.port}", folder)

    try:
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        system, root = FileSystem.from_uri(uri("photos"))
        system.create_dir("drill")
        copy_files(str(setup.images), root, source_filesystem=LocalFileSystem(), destination_filesystem=system)
        with cluster(2) as own:
            run = start(command(uri("photos"), own.address, uri("out")))
            system.create_dir("drill/out")
            wait_for(lambda: len(stored(system, "drill/out")) >= 3, run)
            before = len(stored(system, "drill/out"))
            proxy.refusing.set()
            time.sleep(20)
            proxy.refusing.clear()
            facts = finish(run)
        here = setup.scratch / "store"
        here.mkdir()
        copy_files("drill/out", str(here), source_filesystem=system, destination_filesystem=LocalFileSystem())
    finally:
        moto.kill()
        for key in KEYS:
            del os.environ[key]
    return {**facts, "parts_before": before, "requests_refused": proxy.refused, **compare(unstored(here, setup), setup)}


def stored_at(endpoint: str, folder: str) -> str:
    """The URI of a folder in the drill's store."""
    options = f"endpoint_override={endpoint}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    return f"s3://drill/{folder}?{options}"


def unstored(output: Path, setup: Setup) -> list[dict[str, Any]]:
    """The rows of images in the store, under the names that these have in the folder."""
    results = rows(output)
    for row in results:
        row["path"] = row["path"].replace("s3://drill/photos", str(setup.images)).partition("?")[0]
    return results


def stored(system: Any, folder: str) -> list[str]:
    from pyarrow.fs import FileSelector

    return [file.path for file in system.get_file_info(FileSelector(folder)) if "part-" in file.base_name]


def drill_rates(setup: Setup) -> Facts:
    """No failure: images/s with 1, 2 and 4 workers of one CPU each, measured after the start of the last one."""
    began = time.monotonic()
    subprocess.run(
        [*WRN, "classify", str(setup.images), "-o", str(setup.scratch / "again.csv"), "--format", "csv"],
        stderr=subprocess.PIPE,
    )
    count = len({row["path"] for row in setup.expected})
    facts: Facts = {"pictures": count, "without_cluster": round(count / (time.monotonic() - began), 1)}
    for workers in (1, 2, 4):
        output = setup.scratch / f"rates-{workers}"
        with cluster(workers) as own:
            done = finish(start(command(setup.images, own.address, output)))
        times = sorted(part.stat().st_mtime for part in parts(output))
        steady = (len(times) - workers) * SHARD / (times[-1] - times[workers - 1])
        facts[f"{workers}_workers"] = {
            "steady": round(steady, 1), "with_start": round(count / done["report"]["seconds"], 1),
        }  # fmt: skip
    return facts


DRILLS: Drills = {
    name.removeprefix("drill_"): value for name, value in list(globals().items()) if name.startswith("drill_")
}


def main(drills: Drills, description: str | None) -> None:
    """The command of a script of such drills."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, metavar="FOLDER")
    parser.add_argument("--drill", choices=drills, action="append", help="repeatable [all]")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    document: dict[str, Any] = {"machine": machine_facts(), "drills": {}}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        local = scratch / "local.parquet"
        subprocess.run(
            [*WRN, "classify", str(options.images), "-o", str(local), "--format", "parquet"], stderr=subprocess.PIPE
        )
        setup = Setup(options.images, scratch, pq.read_table(local).to_pylist())
        for name in options.drill or drills:
            began = time.monotonic()
            facts = drills[name](setup)
            facts["seconds"] = round(time.monotonic() - began, 1)
            document["drills"][name] = {"what": " ".join((drills[name].__doc__ or "").split()), **facts}
            print(name, json.dumps(facts), file=sys.stderr, flush=True)
            save_text(options.output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))      # so that clusters end, too
    main(DRILLS, __doc__)
