"""Hosts with addresses of their own on one machine: network namespaces whose cables meet in a switch (a bridge).

    with hosts(3) as (head, *others):              # root, on Linux
        subprocess.run(head.command(["ip", "address"]))
        others[0].cut()                            # the cable is out: packets are lost in silence
        others[0].mend()

Host k has the address 10.77.0.k, the name "wrn-k", its own loopback and its own /tmp/ray; the names of all are in its
/etc/hosts. Processors, memory, disks and the clock are those of the machine, and so are process ids. Nothing of it
touches the machine's own network or another run's. What a killed run left behind is removed by the next.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PREFIX, NETWORK = "wrn-hosts-", "10.77.0"
MINE = f"{PREFIX}{os.getpid()}"
SWITCH = f"{MINE}-0"                               # a namespace, as host K is {MINE}-K
FOLDER = Path("/var/tmp") / MINE                   # the hosts' /etc/hosts, and the /tmp/ray of each
CLONE_NEWNET = 0x40000000                          # <sched.h>
ENTER = 'hostname "$0"; mount --bind "$1/hosts" /etc/hosts; mount --bind "$1/$0" /tmp/ray; shift; exec "$@"'


@dataclass(frozen=True)
class Host:
    """One of them."""

    number: int                                    # from 1 on

    @property
    def name(self) -> str:
        return f"wrn-{self.number}"

    @property
    def namespace(self) -> str:
        return f"{MINE}-{self.number}"

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        """``arguments`` as they run in this host; the process that is begun with them becomes theirs."""
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", "unshare", "--mount", "--uts"]
        return [*inside, "sh", "-ec", ENTER, self.name, str(FOLDER), *arguments]

    def enter(self) -> None:
        """Let the calling thread, and no other, have this host's network from now on."""
        with open(f"/run/netns/{self.namespace}") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")

    def run(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in a thread that is in this host."""
        with ThreadPoolExecutor(1, initializer=self.enter) as thread:
            return thread.submit(work).result()

    def cut(self) -> None:
        """Pull the cable out of the switch."""
        _ip("-n", SWITCH, "link", "set", self.name, "down")

    def mend(self) -> None:
        """Put it back."""
        _ip("-n", SWITCH, "link", "set", self.name, "up")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """``count`` hosts that reach each other, removed at the end with every process in them. Exits with a sentence
    where that cannot be had.
    """
    _check()
    for name in _namespaces():
        if not Path("/proc", name.removeprefix(PREFIX).partition("-")[0]).exists():
            _remove(name)
    members = [Host(number) for number in range(1, count + 1)]
    try:
        _build(members)
        yield members
    finally:
        for name in _namespaces():
            if name.startswith(f"{MINE}-"):
                _remove(name)


def _check() -> None:
    if os.geteuid():
        raise SystemExit("network namespaces need root")
    if missing := [tool for tool in ("ip", "nsenter", "unshare") if not shutil.which(tool)]:
        raise SystemExit(f"{missing[0]} is not there: Linux has it in the package iproute2 or util-linux")


def _build(members: Sequence[Host]) -> None:
    _ip("netns", "add", SWITCH)
    _ip("-n", SWITCH, "link", "add", "bridge", "type", "bridge")
    _ip("-n", SWITCH, "link", "set", "bridge", "up")
    for host in members:
        own = host.namespace
        _ip("netns", "add", own)
        _ip("-n", own, "link", "set", "lo", "up")
        _ip("-n", SWITCH, "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", own)
        _ip("-n", SWITCH, "link", "set", host.name, "master", "bridge", "up")
        _ip("-n", own, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", own, "link", "set", "eth0", "up")
        (FOLDER / host.name).mkdir(parents=True)
    names = "".join(f"{host.address} {host.name}\n" for host in members)
    (FOLDER / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    Path("/tmp/ray").mkdir(exist_ok=True)          # where each has its own mounted


def _namespaces() -> list[str]:
    """Those of all runs."""
    names = [line.split()[0] for line in _ip("netns", "list").splitlines()]
    return [name for name in names if name.startswith(PREFIX)]


def _remove(name: str) -> None:
    """A namespace, what runs in it, and the files of its run."""
    for process in map(int, _ip("netns", "pids", name).split()):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _ip("netns", "delete", name)
    shutil.rmtree(FOLDER.with_name(name.rpartition("-")[0]), ignore_errors=True)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"'ip {' '.join(arguments)}' is refused here: {done.stderr.strip()}")
    return done.stdout
