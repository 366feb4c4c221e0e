"""What this process really has of the machine. ``os.cpu_count()`` counts what the host has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(
    *, cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """CPUs this process may keep busy: its affinity, and the quota of its control groups. At least 1.

    A fractional quota is rounded up, as the JVM and Go do: 1.5 CPUs are only used up by 2 threads.
    The arguments exist for tests.
    """
    quotas = [*_quotas_v2(cgroup_root, membership), *_quotas_v1(cgroup_root, membership)]
    return max(1, min([_affinity(), *(math.ceil(quota) for quota in quotas)]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1                     # macOS and Windows


def _quotas_v2(root: Path, membership: Path) -> Iterator[float]:
    """CPUs by every ``cpu.max`` ("200000 100000" or "max 100000") from our group up to the root."""
    for folder in _groups(root, _member_of(membership, controller="")):
        fields = _read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0].isdecimal() and int(fields[1]) > 0:
            yield int(fields[0]) / int(fields[1])


def _quotas_v1(root: Path, membership: Path) -> Iterator[float]:
    """The same of version 1: two files, and a quota of -1 is none."""
    group = _member_of(membership, controller="cpu")
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _groups(root / mount, group):
            quota = _read(folder / "cpu.cfs_quota_us").strip()
            period = _read(folder / "cpu.cfs_period_us").strip()
            if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                yield int(quota) / int(period)


def _member_of(membership: Path, controller: str) -> str:
    """Our group's path, of a line ``id:controllers:path``; version 2 has no controllers there."""
    for line in _read(membership).splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            return group
    return "/"


def _groups(mount: Path, group: str) -> Iterator[Path]:
    """Our group's folder and those above it; inside a container only the mount itself may exist."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:n])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
