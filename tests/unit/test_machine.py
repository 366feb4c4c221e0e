from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from wideresnet.machine import FLAGS, available_cpus, command_line, machine_facts

AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def sixty_four(monkeypatch):
    """A process that may run on 64 CPUs, so that only quotas limit it."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def cpus(tmp_path, files: dict[str, str], membership: str = "0::/\n") -> int:
    """``available_cpus`` of a made-up control group tree."""
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "self").write_text(membership)
    return available_cpus(cgroup_root=tmp_path / "cgroup", membership=tmp_path / "self")


def test_here_it_is_between_one_and_the_affinity():
    assert 1 <= available_cpus() <= AFFINITY


def test_without_control_groups_the_affinity_counts(tmp_path, sixty_four):
    assert available_cpus(cgroup_root=tmp_path / "none", membership=tmp_path / "none") == 64


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", 64),
        ("", 64),
        ("x y", 64),
    ],
)
def test_version_2_quota(tmp_path, sixty_four, quota, expected):
    """A fraction is rounded up; "max" and what can't be understood limit nothing."""
    assert cpus(tmp_path, {"cpu.max": quota}) == expected


def test_the_smallest_quota_up_to_the_root_counts(tmp_path, sixty_four):
    files = {"a/cpu.max": "300000 100000", "a/b/cpu.max": "800000 100000", "cpu.max": "max 100000"}
    assert cpus(tmp_path, files, membership="0::/a/b\n") == 3


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 64)])
def test_version_1_quota(tmp_path, sixty_four, quota, expected):
    files = {
        "cpu,cpuacct/docker/x/cpu.cfs_quota_us": quota,
        "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
    }
    assert cpus(tmp_path, files, membership="3:memory:/\n4:cpu,cpuacct:/docker/x\n") == expected


def test_version_1_inside_a_container_the_mount_itself_counts(tmp_path, sixty_four):
    files = {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert cpus(tmp_path, files, membership="4:cpu,cpuacct:/docker/not-visible\n") == 2


def test_affinity_limits_a_generous_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert cpus(tmp_path, {"cpu.max": "800000 100000"}) == 1


def test_the_facts_of_a_machine_are_plain_values_with_stable_names():
    facts = machine_facts()
    assert list(facts) == ["cpu", "cpus", "flags", "memory_mb", "os", "python", "versions", "load1", "date", "command"]
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cpu"]
    assert set(facts["flags"]) <= set(FLAGS)
    assert {"wideresnet", "openvino", "numpy", "pillow"} <= set(facts["versions"])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["/opt/bin/wrn", "classify", "my cat.png"], "wrn classify 'my cat.png'"),
        (["/lib/wideresnet/__main__.py", "models"], "wrn models"),
        (["study.py", "-x"], "study.py -x"),
    ],
)
def test_the_command_line_can_be_typed_again(
    arguments: list[str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", arguments)
    assert command_line() == shown


PEAK = """
from wideresnet.machine import peak_rss_mb, reset_peak_rss
print(peak_rss_mb())
block = bytearray(100 << 20)
block[::4096] = b"x" * len(block[::4096])
del block
print(peak_rss_mb())
reset_peak_rss()
print(peak_rss_mb())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells the peak of one process")
def test_peak_memory_is_this_process_own_and_stays_when_memory_is_given_back():
    # With getrusage, on Linux, a process begins with what its parent held: these 200 MB.
    block = bytearray(200 << 20)
    block[::4096] = b"x" * len(block[::4096])
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, after, reset = map(float, done.stdout.split())
    assert 5 < before < 100
    assert before + 90 < after < before + 110
    assert before - 5 < reset < before + 20
