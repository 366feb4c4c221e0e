"""A Ray cluster to work on: found or begun, and how many workers fit on it."""

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

LOCAL = "local"                                    # a cluster of this machine alone, which ends with the run
NODE = "ray.io/node-id"                            # Ray's label of a node
LOOK_EVERY, SILENT = 5.0, 6                        # seconds between two looks at the head; looks in vain


@dataclass(frozen=True)
class Workers:
    """At most ``count`` processes with a model each, with ``cpus`` each."""

    count: int
    cpus: int


@contextmanager
def connected(address: str, lost: Callable[[], object]) -> Iterator[None]:
    """Ray's cluster at ``address`` (host:port, "auto", or "local"). Raises ConfigError and MissingExtra.

    ``lost`` is called when the head has been silent for half a minute. After a whole one Ray ends this process without
    a word, and nothing here could stop it.
    """
    with needs_extra("working on a cluster", "ray"):
        import ray
        import ray.data
    connect(address)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False           # the door has its own
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ended = threading.Event()
    head = ray.get_runtime_context().gcs_address
    threading.Thread(target=_watch, args=(head, ended, lost), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        ray.shutdown()


def connect(address: str, *, log: bool = False, store: int = 0) -> None:
    """Be part of a cluster until ``ray.shutdown``. Raises ConfigError where there is none.

    ``log``: show what the workers write. ``store``: bytes of shared memory that a cluster begun here has at least.
    """
    import ray

    refuse_silent(address)
    own: dict[str, Any] = {}
    if address == LOCAL:                           # no more CPUs than this process may use, and no page of Ray's
        own = {"num_cpus": available_cpus(), "include_dashboard": False, "object_store_memory": store or None}
    try:
        ray.init(address, log_to_driver=log, logging_level=logging.ERROR, **own)
    except Exception as error:                     # Ray raises the bare class where a node begins too slowly
        raise _none(address, (str(error).strip() or repr(error)).splitlines()[0]) from error


def _watch(head: str, ended: threading.Event, lost: Callable[[], object]) -> None:
    silent = 0
    while silent < SILENT and not ended.wait(LOOK_EVERY):
        try:
            refuse_silent(head)
            silent = 0
        except ConfigError:
            silent += 1
    if not ended.is_set():
        lost()


def refuse_silent(address: str) -> None:
    """Raise ConfigError where nothing listens at host:port; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "//" in address:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _none(address, error) from error


def _none(address: str, reason: object) -> ConfigError:
    hint = "'ray start --head' begins one; 'local' needs none"
    return ConfigError(f"no Ray cluster at {address!r}: {reason}", hint)


def fitting(count: int, cpus: int) -> Workers:
    """``count`` workers (0: as many as fit) of ``cpus`` CPUs (0: all of the smallest node) on the cluster's nodes.

    Raises ConfigError where no node has so many CPUs.
    """
    import ray

    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    nodes = [each for each in nodes if each] or [0]
    wanted = cpus or min(nodes)
    most = sum(each // wanted for each in nodes) if wanted else 0
    if not most:
        raise ConfigError(
            f"no node of the cluster has {wanted or 1} CPUs to give: the largest has {max(nodes)}",
            hint="ask for fewer with --cpus",
        )
    return Workers(min(count, most) if count else most, wanted)


def node_is_not(avoided: Collection[str]) -> dict[str, str] | None:
    """Ray's selector of all nodes but these."""
    return {NODE: f"!in({','.join(avoided)})"} if avoided else None
