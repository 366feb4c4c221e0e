"""Drills of bulk work on a Ray cluster of three hosts with addresses of their own, one of whose links is cut.

    python benchmarks/drills/bulk_hosts.py FOLDER [--drill NAME …] -o FILE.json

FOLDER holds some hundreds of images. Hosts are network namespaces of this machine (hosts.py): root, on Linux. The
head of the cluster is in the first, where the command is given too; the others have a worker each. "cut" and "lost"
need moto[server]: images and answers are in an S3 store in the first host, so that whoever is cut off has neither.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bulk
import pyarrow.parquet as pq
from bulk import KEYS, WRN, Drills, Facts, Setup, command, compare, finish, rows, start, stored_at, unstored, wait_for
from hosts import Host, hosts
from nodes import Cluster

STORE_PORT, MOTO_PAGE = 9000, "/drill?list-type=2&max-keys=1000&prefix="
LONG = {"counts", "conditions"}                    # of the report of wrn evaluate
BRIEFLY = 20                                       # seconds
COPY = """
import sys
from pyarrow.fs import FileSystem, copy_files
(source, a), (target, b) = (FileSystem.from_uri(uri) for uri in sys.argv[1:])
target.create_dir(b)
copy_files(a, b, source_filesystem=source, destination_filesystem=target)
"""


@dataclass
class Scene:
    """A cluster on hosts, and a command in the first."""

    hosts: list[Host]
    ray: Cluster

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in the first host, where the cluster's token is known."""
        return start(self.hosts[0].command(arguments), **self.ray.environment)


@contextmanager
def scene() -> Iterator[Scene]:
    """Three hosts: a head without CPUs, and two nodes of one each."""
    with hosts(3) as three, tempfile.TemporaryDirectory() as folder:
        ray = Cluster(Path(folder), hosts=three)
        ray.environment |= KEYS
        try:
            ray.start_head()
            ray.start_node(cpus=1)
            ray.start_node(cpus=1)
            yield Scene(three, ray)
        finally:
            ray.stop()


def drill_evaluate(setup: Setup) -> Facts:
    """wrn evaluate without a failure."""
    labelled = setup.scratch / "labelled"          # the folders' names are indices of classes
    for index, folder in enumerate(sorted(path for path in setup.images.iterdir() if path.is_dir())):
        shutil.copytree(folder, labelled / str(index))
    return undisturbed(setup, "evaluate", labelled, ["--skip-order-check"])


def drill_embed(setup: Setup) -> Facts:
    """wrn embed without a failure."""
    return undisturbed(setup, "embed", setup.images, [])


def undisturbed(setup: Setup, verb: str, images: Path, more: list[str]) -> Facts:
    """A command in peace, beside the same one without a cluster."""
    local, output = setup.scratch / f"{verb}.parquet", setup.scratch / verb
    subprocess.run([*WRN, verb, str(images), "-o", str(local), *more], check=True, capture_output=True)
    with scene() as three:
        facts = finish(three.start(*command(images, three.ray.address, output, verb, more)))
    facts["report"] = {key: value for key, value in (facts["report"] or {}).items() if key not in LONG}
    results, expected_rows = timeless(rows(output)), timeless(pq.read_table(local).to_pylist())
    paths, expected = [row["path"] for row in results], {row["path"] for row in expected_rows}
    return {**facts, "pictures": len(set(paths)), "lost": len(expected - set(paths)),
            "doubled": len(results) - len(expected_rows), "equal_to_local": results == expected_rows}  # fmt: skip


def timeless(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in results]


def drill_cut(setup: Setup) -> Facts:
    """The network link of a host is cut for 20 seconds during the run; the store is on another host."""
    return cut(setup, BRIEFLY)


def drill_lost(setup: Setup) -> Facts:
    """The network link of a host is cut during the run and restored after its end."""
    return cut(setup, None)


def cut(setup: Setup, seconds: float | None) -> Facts:
    """The last host's link is out for ``seconds``, or until the run has ended."""
    here = Path(tempfile.mkdtemp(dir=setup.scratch))
    with scene() as three, store(three.hosts[0], setup.images) as endpoint:
        run = three.start(*command(stored_at(endpoint, "photos"), three.ray.address, stored_at(endpoint, "out")))
        wait_for(lambda: count(three.hosts[0], endpoint) >= 3, run)
        before, began = count(three.hosts[0], endpoint), time.monotonic()
        three.hosts[-1].cut()
        if seconds:
            time.sleep(seconds)
            while_cut = count(three.hosts[0], endpoint) - before
            three.hosts[-1].mend()
        facts = finish(run)
        after = round(time.monotonic() - began, 1)
        if not seconds:
            while_cut = count(three.hosts[0], endpoint) - before
            three.hosts[-1].mend()
            time.sleep(BRIEFLY)
        copy(three.hosts[0], stored_at(endpoint, "out"), here.as_uri())
        lived = three.ray.nodes[-1].running()
    return {**facts, "parts_before": before, "parts_while_cut": while_cut, "seconds_from_cut_to_end": after,
            "node_lived_on": lived, **compare(unstored(here, setup), setup)}  # fmt: skip


@contextmanager
def store(host: Host, images: Path) -> Iterator[str]:
    """An S3 store in ``host`` with the images; its endpoint."""
    moto = subprocess.Popen(
        host.command([sys.executable, "-m", "moto.server", "-H", host.address, "-p", str(STORE_PORT)]),
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"{host.address}:{STORE_PORT}"
    try:
        wait_for(lambda: ask(host, endpoint, "/"))
        copy(host, images.absolute().as_uri(), stored_at(endpoint, "photos"))
        yield endpoint
    finally:
        moto.kill()
        moto.wait()


def copy(host: Host, source: str, target: str) -> None:
    """Folders by URI, from within ``host``."""
    finished = start(host.command([sys.executable, "-c", COPY, source, target]), **KEYS)
    _, complaints = finished.communicate()
    if finished.returncode:
        raise SystemExit(complaints)


def count(host: Host, endpoint: str) -> int:
    """The parts in the store."""
    return ask(host, endpoint, f"{MOTO_PAGE}out/part-").count(b"<Key>")


def ask(host: Host, endpoint: str, path: str) -> bytes:
    """What the store answers within ``host``; nothing while there is none."""

    def get() -> bytes:
        with suppress(OSError):
            connection = http.client.HTTPConnection(endpoint, timeout=30)
            connection.request("GET", path)
            return connection.getresponse().read()
        return b""

    return host.run(get)


DRILLS: Drills = {"evaluate": drill_evaluate, "embed": drill_embed, "cut": drill_cut, "lost": drill_lost}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))      # so that hosts end, too
    bulk.main(DRILLS, __doc__)
