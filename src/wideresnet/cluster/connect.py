"""Connecting to a Ray cluster or starting a local one, and counting the workers that fit on it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wideresnet.errors import ConfigError, needs_extra
from wideresnet.machine import available_cpus

LOCAL = "local"                                    # the address of a new cluster on this machine, ended with the run
NODE_LABEL = "ray.io/node-id"
CHECK_SECONDS, MAX_FAILED_CHECKS = 5.0, 6          # between checks of the head; consecutive failures until it is lost


@dataclass(frozen=True)
class Workers:
    """At most ``count`` worker processes, each with ``cpus`` CPUs."""

    count: int
    cpus: int


@contextmanager
def ray_connection(address: str, on_head_lost: Callable[[], object]) -> Iterator[None]:
    """Connect to the Ray cluster at ``address`` (host:port, "auto", or "local") within the block.

    ``on_head_lost`` is called when the head has been unreachable for half a minute: after a whole minute Ray ends this
    process without a message, and nothing here could prevent it. Raises ConfigError and MissingExtra.
    """
    with needs_extra("working on a cluster", "ray"):
        import ray
        import ray.data
    connect(address)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False           # the command shows its own
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ended = threading.Event()
    head = ray.get_runtime_context().gcs_address
    threading.Thread(target=_watch_head, args=(head, ended, on_head_lost), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        ray.shutdown()


def connect(address: str, *, log: bool = False, store: int = 0) -> None:
    """Connect to a cluster, until ``ray.shutdown``. Raises ConfigError where there is none.

    ``log``: show the workers' output. ``store``: minimum bytes of shared memory of a cluster started here.
    """
    import ray

    check_reachable(address)
    options: dict[str, Any] = {}
    if address == LOCAL:                           # limited to this process's CPUs, without Ray's dashboard
        options = {"num_cpus": available_cpus(), "include_dashboard": False, "object_store_memory": store or None}
    try:
        ray.init(address, log_to_driver=log, logging_level=logging.ERROR, **options)
    except Exception as error:                     # Ray raises a bare Exception when a node starts too slowly
        raise _no_cluster(address, (str(error).strip() or repr(error)).splitlines()[0]) from error


def _watch_head(head: str, ended: threading.Event, on_head_lost: Callable[[], object]) -> None:
    failed_checks = 0
    while failed_checks < MAX_FAILED_CHECKS and not ended.wait(CHECK_SECONDS):
        try:
            check_reachable(head)
            failed_checks = 0
        except ConfigError:
            failed_checks += 1
    if not ended.is_set():
        on_head_lost()


def check_reachable(address: str) -> None:
    """Raise ConfigError where nothing listens at host:port; Ray itself would retry for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "//" in address:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, reason: object) -> ConfigError:
    hint = "start one with 'ray start --head', or use 'local'; for one with a token set RAY_AUTH_MODE=token"
    return ConfigError(f"no Ray cluster at {address!r}: {reason}", hint)


def plan_workers(count: int, cpus: int) -> Workers:
    """Return how many workers run: ``count`` (0: as many as fit) of ``cpus`` CPUs (0: all of the smallest node).

    Raises ConfigError where no node has that many CPUs.
    """
    import ray

    nodes = [own for node in ray.nodes() if node["Alive"] and (own := int(node["Resources"].get("CPU", 0)))] or [0]
    worker_cpus = cpus or min(nodes)
    fitting = sum(node_cpus // worker_cpus for node_cpus in nodes) if worker_cpus else 0
    if not fitting:
        problem = f"no node of the cluster has {worker_cpus or 1} CPUs: the largest has {max(nodes)}"
        raise ConfigError(problem, hint="ask for fewer with --cpus")
    return Workers(min(count, fitting) if count else fitting, worker_cpus)


def has_node(workers: Workers, avoided: Collection[str]) -> bool:
    """Return whether a worker fits on a node that is not ``avoided``; without one Ray would wait for ever."""
    import ray

    nodes = (node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in avoided)
    return any(node["Resources"].get("CPU", 0) >= workers.cpus for node in nodes)


def exclude_nodes(node_ids: Collection[str]) -> dict[str, str] | None:
    """Return Ray's label selector of all nodes except ``node_ids``."""
    return {NODE_LABEL: f"!in({','.join(node_ids)})"} if node_ids else None
