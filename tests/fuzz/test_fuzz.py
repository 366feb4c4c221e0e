"""A short run of every fuzz target, and the cases that were findings once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.run import fuzz, run_case
from fuzz.targets import TARGETS

FINDINGS = sorted((Path(__file__).parent / "findings").iterdir())
FEW, MANY, SECONDS = 12, 300, 30                   # cases of a target by default and of 'make test-all', at most in s
NEEDS = {"parquet": "pyarrow", "pth": "torch", "request": "starlette", "graph": "nncf"}


def needed(name: str) -> None:
    if package := NEEDS.get(name):
        pytest.importorskip(package)


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_was_a_finding_is_read_or_refused(path: Path) -> None:
    """The beginning of a file's name is its target."""
    name = path.name.partition("-")[0]
    needed(name)
    assert run_case(TARGETS[name], path.read_bytes()) in ("read", "refused")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("graph", "pth")])
def test_cases_are_read_or_refused(name: str) -> None:
    needed(name)
    seeds = len(TARGETS[name].seeds())
    results = {index: run_case(TARGETS[name], TARGETS[name].case(0, index)) for index in range(seeds + FEW)}
    assert set(results.values()) <= {"read", "refused"}, results


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_cases_are_read_or_refused_within_time_and_memory(name: str) -> None:
    needed(name)
    counts = fuzz(name, SECONDS, cases=MANY)
    assert not counts.findings
    assert counts.read + counts.refused > 0
