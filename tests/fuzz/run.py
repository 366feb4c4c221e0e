"""Fuzz the readers: ``python tests/fuzz/run.py [TARGET …] [--seconds 60] [--seed 0] [--cases N]``.

Each target runs in a process of its own, with little memory, that a case ends which takes more than 5 s; the
next process goes on behind it. Prints the counts of each target and its findings, which
are kept in ``build/fuzz``; exits 1 if there are any.
"""

from __future__ import annotations

import argparse
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.targets import TARGETS, Target

CASE_SECONDS = 5
MEMORY = 512 << 20  # bytes that all cases of a process may take beside its own
RESTART = 500  # cases of one process


@dataclass
class Counts:
    """What became of the cases of a target; ``findings`` by where they happened."""

    read: int = 0
    refused: int = 0
    findings: dict[str, int] = field(default_factory=dict)  # description -> the first case

    def add(self, result: str, index: int) -> None:
        """Count the result of a case."""
        if result in ("read", "refused"):
            setattr(self, result, getattr(self, result) + 1)
        else:
            self.findings.setdefault(result, index)


def run_case(target: Target, data: bytes) -> str:
    """Return "read", "refused", or what is wrong."""
    from wideresnet.errors import WrnError

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(data, Path(folder))
            return "read"
        except WrnError as error:
            (error.message + error.hint).encode()  # it can be printed
            return "refused"
        except Exception as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "wideresnet/" in frame.filename]
            place = f"{frames[-1].filename.rpartition('wideresnet/')[2]}:{frames[-1].lineno}" if frames else "?"
            return f"{type(error).__name__} at {place}: {str(error)[:100]!r}"


def child(name: str, seed: int, first: int) -> None:
    """Read cases; one line for each."""
    target = TARGETS[name]
    for data in target.seeds():
        run_case(target, data)
    if not target.engine and Path("/proc/self/statm").exists():
        used = resource.getpagesize() * int(Path("/proc/self/statm").read_text("ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    print("ready", flush=True)
    for index in range(first, first + RESTART):
        data = target.case(seed, index)
        signal.setitimer(signal.ITIMER_REAL, CASE_SECONDS)  # SIGALRM ends the process, whatever it does
        print(run_case(target, data), flush=True)
        signal.setitimer(signal.ITIMER_REAL, 0)


def fuzz(name: str, seconds: float, seed: int = 0, cases: int = 10**9) -> Counts:
    """Run a target for a time or a number of cases, whichever ends first."""
    counts, index, until = Counts(), 0, time.monotonic() + seconds
    while index < cases and time.monotonic() < until:
        command = [sys.executable, __file__, "--child", name, "--seed", str(seed), "--first", str(index)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
        assert process.stdout is not None
        last = min(cases, index + RESTART)
        for line in process.stdout:
            if line == "ready\n":
                until = until if index else time.monotonic() + seconds
                continue
            counts.add(line.strip(), index)
            index += 1
            if index == last or time.monotonic() > until:
                process.kill()
                break
        else:
            _, said = process.communicate()
            slow = process.returncode == -signal.SIGALRM
            counts.add(
                f"more than {CASE_SECONDS} s" if slow else f"exit code {process.returncode}: {said[-200:]!r}", index
            )
            index += 1
        process.communicate()
    return counts


def main() -> int:
    """Return 1 if there are findings."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of files and requests.")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--seconds", type=float, default=60, help="of each target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="printed; the same gives the same cases")
    parser.add_argument("--cases", type=int, default=10**9, help="of each target, at most")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.seed, options.first)
        return 0
    found = 0
    print(f"seed {options.seed}, {options.seconds:g} s each", flush=True)
    for name in options.targets or TARGETS:
        counts = fuzz(name, options.seconds, options.seed, options.cases)
        found += len(counts.findings)
        print(
            f"{name:12} {counts.read:6} read {counts.refused:6} refused {len(counts.findings):3} findings", flush=True
        )
        for description, index in counts.findings.items():
            kept = Path("build/fuzz") / f"{name}-{re.sub('[^a-zA-Z]+', '-', description)[:40]}-{index}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(TARGETS[name].case(options.seed, index))
            print(f"    {description}\n    {kept}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
