"""Drills of training on two hosts with addresses of their own, whose link is cut.

    python benchmarks/drills/training_hosts.py [--drill NAME …] [--recipe RECIPE --data DATA] -o FILE.json

Hosts are network namespaces of this machine (hosts.py): root, on Linux. On each is a torchrun with one worker and a run
folder of its own, and all are compared with a run of two workers on the loopback that was left in peace, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts import Host, hosts
from training import Drills, Facts, Node, Setup, amid_an_epoch, compare, log_of, main, of_two_nodes, two_runs

PORT = 29500
PATIENCE = 2100                                    # seconds until somebody must have noticed
BRIEFLY = 10                                       # seconds
PAUSE, STARTS = 5, 10                              # seconds before a command is given again; how often at most


@dataclass
class Pair:
    """Two hosts that train together; the first has the meeting point, and rank 0."""

    setup: Setup
    hosts: list[Host]
    runs: list[Path]
    nodes: list[Node]

    def begin(self, number: int) -> Node:
        """The command of a node."""
        endpoint = f"{self.hosts[0].name}:{PORT}"
        return of_two_nodes(self.setup, endpoint, self.runs[number], number, self.hosts[number])

    def end(self, undisturbed: Path) -> Facts:
        """How both ended, and whether all is equal."""
        return {"nodes": [node.end() for node in self.nodes], **compare(self.runs[0], undisturbed)}

    def keep_alive(self) -> list[int]:
        """Give the command of a node again as often as it ends with an error, like systemd; how often that was."""
        again = [0, 0]
        while any(node.running() or node.end()["exit_code"] for node in self.nodes) and max(again) < STARTS:
            time.sleep(PAUSE)
            for number, node in enumerate(self.nodes):
                if not node.running() and node.end()["exit_code"]:
                    self.nodes[number] = self.begin(number)
                    again[number] += 1
        return again


@contextmanager
def training(setup: Setup, name: str) -> Iterator[Pair]:
    """A pair that has begun."""
    with hosts(2) as both:
        pair = Pair(setup, both, two_runs(setup, name), [])
        pair.nodes = [pair.begin(0), pair.begin(1)]
        yield pair


def drill_peace(setup: Setup, undisturbed: Path) -> Facts:
    """No failure: two hosts instead of one."""
    with training(setup, "peace") as pair:
        return pair.end(undisturbed)


def drill_brief(setup: Setup, undisturbed: Path) -> Facts:
    """The network link of one host is cut for ten seconds during an epoch."""
    with training(setup, "brief") as pair:
        facts = amid_an_epoch(pair.runs[0], pair.nodes[0])
        pair.hosts[1].cut()
        time.sleep(BRIEFLY)
        finished = len(log_of(pair.runs[0]))
        pair.hosts[1].mend()
        return {**facts, "epochs_finished_while_cut": finished, **pair.end(undisturbed)}


def drill_cut(setup: Setup, undisturbed: Path) -> Facts:
    """The network link of one host is cut during an epoch until both workers have exited; a torchrun that ended with
    an error is repeated.
    """
    with training(setup, "cut") as pair:
        facts = amid_an_epoch(pair.runs[0], pair.nodes[0])
        workers = [node.workers() for node in pair.nodes]
        began = time.monotonic()
        pair.hosts[1].cut()
        noticed: list[float | None] = [None, None]
        while None in noticed and time.monotonic() < began + PATIENCE:
            time.sleep(0.5)
            for number, node in enumerate(pair.nodes):
                if noticed[number] is None and node.workers() != workers[number]:
                    noticed[number] = round(time.monotonic() - began, 1)
        pair.hosts[1].mend()
        again = pair.keep_alive()
        return {**facts, "workers_ended_after_seconds": noticed, "given_again": again, **pair.end(undisturbed)}


DRILLS: Drills = {"peace": drill_peace, "brief": drill_brief, "cut": drill_cut}


if __name__ == "__main__":
    main(DRILLS, __doc__)
