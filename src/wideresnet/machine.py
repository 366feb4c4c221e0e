"""CPU and memory limits of this process (affinity and cgroups); ``os.cpu_count()`` reports the host's."""

from __future__ import annotations

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

# CPU flags that decide the speed of convolutions, by Linux's names.
FLAGS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimd", "bf16", "i8mm", "sve",
)  # fmt: skip
PACKAGES = ("wideresnet", "openvino", "onnxruntime", "torch", "numpy", "pillow", "nncf")


def available_cpus(
    *, cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the number of CPUs this process may use, at least 1: its affinity and its control groups' quota.

    A fractional quota is rounded up, as the JVM and Go do: 1.5 CPUs are only used up by 2 threads.
    The arguments exist for tests.
    """
    quotas = [*_quotas_v2(cgroup_root, membership), *_quotas_v1(cgroup_root, membership)]
    return max(1, min([_affinity(), *(math.ceil(quota) for quota in quotas)]))


def machine_facts() -> dict[str, object]:
    """Return the conditions of a measurement: CPU, memory, system, versions, load, date, command line."""
    return {
        "cpu": cpu_name(),
        "cpus": available_cpus(),
        "flags": cpu_flags(),
        "memory_mb": memory_mb(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "load1": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(),
    }


def command_line() -> str:
    """Return the command line of this process as a shell reads it; ``wrn`` for ``python -m wideresnet``."""
    name = Path(sys.argv[0]).name
    return shlex.join(["wrn" if name == "__main__.py" else name, *sys.argv[1:]])


def cpu_name() -> str:
    """Return the CPU's name as Linux states it, else the kind of machine."""
    return _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Return those of ``FLAGS`` that this CPU has; empty where the system does not state them."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = (_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split()
    return [flag for flag in FLAGS if flag in flags]


def memory_mb() -> int | None:
    """Return the machine's memory in MiB (not a container's limit); None where the system does not state it."""
    kilobytes = _field(Path("/proc/meminfo"), "MemTotal").removesuffix(" kB")
    return int(kilobytes) // 1024 if kilobytes else None


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process in MiB; nan where the system does not state it."""
    # getrusage would do everywhere, but on Linux it begins with what the parent process held.
    kilobytes = _field(Path("/proc/self/status"), "VmHWM").removesuffix(" kB")
    if kilobytes:
        return int(kilobytes) / 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return math.nan


def reset_peak_rss() -> None:
    """Let ``peak_rss_mb`` begin anew; without effect where the system cannot, as on macOS."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _field(file: Path, name: str) -> str:
    """Return the first value of ``name : value`` in one of Linux's tables, or ""."""
    for line in _read(file).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1                     # macOS and Windows


def _quotas_v2(root: Path, membership: Path) -> Iterator[float]:
    """Yield the CPUs that each ``cpu.max`` ("200000 100000" or "max 100000") allows, from our group up to the root."""
    for folder in _groups(root, _member_of(membership, controller="")):
        fields = _read(folder / "cpu.max").split()
        if len(fields) == 2 and fields[0].isdecimal() and int(fields[1]) > 0:
            yield int(fields[0]) / int(fields[1])


def _quotas_v1(root: Path, membership: Path) -> Iterator[float]:
    """Yield the same for cgroups of version 1, which have two files; a quota of -1 is no limit."""
    group = _member_of(membership, controller="cpu")
    for mount in ("cpu", "cpu,cpuacct"):
        for folder in _groups(root / mount, group):
            quota = _read(folder / "cpu.cfs_quota_us").strip()
            period = _read(folder / "cpu.cfs_period_us").strip()
            if quota.isdecimal() and period.isdecimal() and int(period) > 0:
                yield int(quota) / int(period)


def _member_of(membership: Path, controller: str) -> str:
    """Return our group's path from a line ``id:controllers:path``; in version 2 the controllers are empty."""
    for line in _read(membership).splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            return group
    return "/"


def _groups(mount: Path, group: str) -> Iterator[Path]:
    """Yield our group's folder and those above it; inside a container only the mount itself may exist."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for n in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:n])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
