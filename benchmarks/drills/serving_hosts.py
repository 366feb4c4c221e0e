"""Drills of the service on hosts with addresses of their own: a link is cut under load, and replicas come with load.

    python benchmarks/drills/serving_hosts.py -o FILE.json

Hosts are network namespaces of this machine (hosts.py): root, on Linux. The head of the cluster is in the first, a node
is in the second and in the third each, and in the fourth are the clients, who all ask the proxy of the head. Load and
comparison are those of serving.py.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hosts import Host, hosts
from nodes import Cluster, read, wait

from serving import REPLICAS, Drill, Load, Stage, Staged, main, run

Facts = dict[str, Any]
BRIEFLY = 10                                       # seconds
STRENGTH = 300                                     # seconds until the service must be whole again
CALM = 10                                          # seconds of a client between two questions, later
IDLE = 900                                         # seconds until a replica that is not needed must have ended


def drill_link(load: Load, cluster: Cluster, seconds: float) -> Facts:
    """The network link of one of two nodes is cut, and restored when the other one runs the replicas of both."""
    return cut(load, cluster, seconds, None)


def drill_brief(load: Load, cluster: Cluster, seconds: float) -> Facts:
    """The network link of one of two nodes is cut for ten seconds."""
    return cut(load, cluster, seconds, BRIEFLY)


def cut(load: Load, cluster: Cluster, seconds: float, briefly: float | None) -> Facts:
    """The link of the last node is out for so many seconds, or until the service is whole without it."""
    host: Host = cluster.hosts[len(cluster.nodes) - 1]
    time.sleep(seconds)
    before, event = set(load.replicas(0)), time.monotonic()
    host.cut()
    if briefly:
        time.sleep(briefly)
        host.mend()
    full = wait(lambda: sorted(load.replicas(event + 0.5).values())[REPLICAS - 1 :], STRENGTH)
    host.mend()
    mended = time.monotonic()
    time.sleep(2 * seconds)
    after = set(load.replicas(mended))
    return {
        "replicas_before": len(before),
        "replicas_lost": len(before - after),
        "replicas_new": len(after - before),
        "mended_after_seconds": briefly or round(mended - event, 1),
        "full_strength_after_seconds": round(full[0] - event, 1) if full else None,
        "node_lived_on": cluster.nodes[-1].running(),
        **load.facts(event),
    }


def drill_scale(load: Load, cluster: Cluster, seconds: float) -> Facts:
    """--replicas 1:2: eight clients in a closed loop, later one request every ten seconds from each."""
    began = time.monotonic()
    second = wait(lambda: sorted(load.replicas(began).values())[1:], STRENGTH)
    event = second[0] if second else time.monotonic()
    time.sleep(seconds)
    both = sum(event < answered for _, answered, replica in load.history if replica) / (time.monotonic() - event)
    most, load.pause, calm = replicas(cluster), CALM, time.monotonic()
    wait(lambda: replicas(cluster) == 1, IDLE)
    alone = time.monotonic()
    time.sleep(seconds)
    return {
        "replicas": [1, most, replicas(cluster)],
        "second_replica_answers_after_seconds": round(event - began, 1),
        "back_to_one_after_seconds": round(alone - calm, 1),
        "answers_per_second_with_two": round(both, 1),
        **load.facts(event),
    }


def replicas(cluster: Cluster) -> int:
    """The processes of replicas."""
    return sum(b"ServeReplica" in read(process, "cmdline") for node in cluster.nodes for process in node.processes())


def staged(drill: Drill, cpus: tuple[int, ...], count: str) -> Staged:
    """A drill on four hosts of its own."""

    def stage(seconds: float) -> Facts:
        with hosts(4) as four:
            return run(drill, Stage("memory", cpus, count, four), seconds)

    return stage


DRILLS: dict[str, Staged] = {
    "link": staged(drill_link, (2, 2), "2"),
    "brief": staged(drill_brief, (2, 2), "2"),
    "scale": staged(drill_scale, (1, 1), "1:2"),
}


if __name__ == "__main__":
    main(DRILLS, Path(__file__).name, __doc__)
