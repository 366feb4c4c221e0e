"""A Ray cluster of several node processes on this machine, in a process of its own: Ray's warnings stay out of tests.

Run as a script it prints the cluster's address, kills a node for each line on stdin, and ends with it.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

# Found without importing it here: its warnings would be errors.
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
STORE = 80_000_000                                 # bytes of a node's object store
BEGIN = 300                                        # seconds for a node to begin


@dataclass
class RayCluster:
    """A running cluster, whose nodes can be killed."""

    process: subprocess.Popen[str]
    address: str

    def kill_node(self) -> None:
        """Send SIGKILL to a node and its processes, and wait until they have ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "killed"


@contextmanager
def ray_cluster(nodes: int) -> Iterator[RayCluster]:
    """A head without CPUs, and ``nodes`` nodes with one CPU each."""
    # Ray waits 30 seconds for a node to begin, which is short where others are at work.
    patient = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": str(BEGIN)}
    pipe, quiet = subprocess.PIPE, {**os.environ, **patient}
    process = subprocess.Popen(
        [sys.executable, __file__, str(nodes)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True, env=quiet,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield RayCluster(process, process.stdout.readline().strip())
    finally:
        process.communicate()                      # the end of stdin is the end of it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def main(nodes: int) -> None:
    """Run the cluster until stdin ends."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        added = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(nodes)]
        cluster.wait_for_nodes()
        write_line(cluster.address)
        for _ in sys.stdin:
            cluster.remove_node(added.pop(), allow_graceful=False)
            write_line("killed")
    finally:
        cluster.shutdown()


def write_line(line: str) -> None:
    """Write a line to the parent process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
