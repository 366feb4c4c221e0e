"""Failure drills of training in several processes on this machine.

    python benchmarks/drills/training.py [--drill NAME …] [--recipe RECIPE --data DATA] -o FILE.json

Every drill starts ``torchrun … -m wideresnet train`` as anyone would, kills (SIGKILL) something amid an epoch, and
compares checkpoint and result with those of a run that was left in peace, bit for bit. Without --recipe it learns from
images of noise, which takes seconds. A "node" is a torchrun of its own with a run folder of its own: nodes share no
disk; both need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, without which torchrun does not tell a node that comes back where
to find the others (pytorch 2.13). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hosts import Host
from PIL import Image

from wideresnet.machine import machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.training.recipe import read_recipe
from wideresnet.weights.read import read_tensors

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
WAIT = 1800                                        # seconds for anything
CPUS = sorted(os.sched_getaffinity(0))
EPOCHS = 6
RESTARTS = 1                                       # a kill costs one, not more
RECIPE = f"""
architecture = "wrn_10_1"
data = "folder"
epochs = {EPOCHS}
batch_size = 32
learning_rate = 0.1
schedule = "one-cycle"
dropout = 0.3
ema = 0.9
mixup = 0.2
trivial = true
stored = 36
sizes = [[0, 24], [3, 32]]
"""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """The inputs of a drill; ``recipe`` and ``data`` are those of the command line."""

    scratch: Path
    recipe: Path
    data: Path
    changes: Sequence[str]                         # --set key=value …

    def train(self, run: Path) -> list[str]:
        return ["-m", "wideresnet", "train", str(self.recipe), "--data", str(self.data), "-o", str(run), *self.changes]


Drills = dict[str, Callable[[Setup, Path], Facts]]


class Node:
    """A torchrun and its workers. What they say goes to a file, in which nothing waits for a reader."""

    def __init__(self, arguments: Sequence[str], log: Path, cpus: Sequence[int], host: Host | None = None) -> None:
        self._log, self.started = log, time.monotonic()
        command = [*TORCHRUN, *arguments]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                host.command(command) if host else command, stdout=output, stderr=output,
                env={**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if "--nnodes" in arguments else None,
                preexec_fn=partial(os.sched_setaffinity, 0, cpus),
            )  # fmt: skip

    def workers(self) -> list[int]:
        """Process ids, by rank; none once it has ended."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        processes = map(int, children.read_text().split() if self.running() else ())
        by_rank = {rank_of(process): process for process in processes}
        return [by_rank[rank] for rank in sorted(rank for rank in by_rank if rank is not None)]

    def kill(self) -> None:
        """torchrun first, so that it does not end its workers in its own way."""
        workers = self.workers()
        self._process.kill()
        self._process.wait()
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)

    def running(self) -> bool:
        return self._process.poll() is None

    def end(self) -> Facts:
        """How it ended, how often its workers began, and in how many seconds."""
        code = self._process.wait(WAIT)
        seconds = round(time.monotonic() - self.started, 1)
        log = self._log.read_text()
        begun = len(re.findall(r"images of \d+ classes for training", log))
        facts: Facts = {"exit_code": code, "seconds": seconds, "begun": begun}
        if code:
            facts["said"] = log.splitlines()[-20:]
        return facts


def rank_of(process: int) -> int | None:
    with suppress(OSError):
        for variable in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"RANK="):
                return int(variable.removeprefix(b"RANK="))
    return None


def one_node(setup: Setup, run: Path) -> Node:
    options = ["--standalone", "--nproc-per-node", "2", "--max-restarts", str(RESTARTS)]
    return Node([*options, *setup.train(run)], run.with_suffix(".log"), CPUS)


def of_two_nodes(setup: Setup, endpoint: str, run: Path, number: int, host: Host | None = None) -> Node:
    """One of them, with half of the CPUs: workers have as many threads as in ``one_node``, which decides last bits."""
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(RESTARTS), "--rdzv-id", "drill",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint]  # fmt: skip
    half = len(CPUS) // 2
    own = CPUS[number * half :][:half] or CPUS
    return Node([*options, *setup.train(run)], run.with_suffix(".log"), own, host)


def two_runs(setup: Setup, name: str) -> list[Path]:
    """The run folders of two nodes that share no disk."""
    runs = [setup.scratch / f"{name}{number}" / "run" for number in range(2)]
    for run in runs:
        run.parent.mkdir()
    return runs


def amid_an_epoch(run: Path, node: Node) -> Facts:
    """Waits until one is over and half of the next too; says which."""
    while not log_of(run):
        if not node.running():
            raise SystemExit(f"it ended too soon: {node.end()}")
        time.sleep(0.02)
    time.sleep(log_of(run)[-1]["seconds"] / 2)
    return {"epochs_finished_when_killed": len(log_of(run)), "after_seconds": round(time.monotonic() - node.started, 1)}


def log_of(run: Path) -> list[dict[str, float]]:
    with suppress(OSError):
        return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return []


def state_of(run: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and momentum of the checkpoint, and the tensors of the result."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    momentum = {f"momentum {k}": v["momentum_buffer"] for k, v in saved["optimiser"]["state"].items()}
    averaged = {f"averaged {k}": v for k, v in saved["averaged"].items()}
    result = {f"result {k}": torch.from_numpy(v) for k, v in read_tensors(run / "model.safetensors").items()}
    return {**saved["model"], **momentum, **averaged, **result}


def compare(run: Path, undisturbed: Path) -> Facts:
    """Whether everything is equal to the last bit, times apart."""
    if not (run / "model.safetensors").exists():
        return {"equal": False}
    state, expected = state_of(run), state_of(undisturbed)
    same = [key for key in expected if key in state and torch.equal(state[key], expected[key])]
    logs = [[(line["epoch"], line["loss"], line.get("top1")) for line in log_of(path)] for path in (run, undisturbed)]
    return {"tensors": len(expected), "tensors_equal": len(same), "logs_equal": logs[0] == logs[1],
            "equal": len(same) == len(expected) == len(state) and logs[0] == logs[1]}  # fmt: skip


def drill_worker(setup: Setup, undisturbed: Path) -> Facts:
    """The worker of rank 1 is killed; torchrun restarts both."""
    run = setup.scratch / "worker"
    node = one_node(setup, run)
    facts = amid_an_epoch(run, node)
    os.kill(node.workers()[1], signal.SIGKILL)
    return {**facts, **node.end(), **compare(run, undisturbed)}


def drill_writer(setup: Setup, undisturbed: Path) -> Facts:
    """The worker of rank 0, which writes the checkpoints, is killed; torchrun restarts both."""
    run = setup.scratch / "writer"
    node = one_node(setup, run)
    facts = amid_an_epoch(run, node)
    os.kill(node.workers()[0], signal.SIGKILL)
    return {**facts, **node.end(), **compare(run, undisturbed)}


def drill_machine(setup: Setup, undisturbed: Path) -> Facts:
    """torchrun and all workers are killed, as in a machine failure; the same command is repeated."""
    run = setup.scratch / "machine"
    node = one_node(setup, run)
    facts = amid_an_epoch(run, node)
    node.kill()
    return {**facts, **one_node(setup, run).end(), **compare(run, undisturbed)}


def drill_node(setup: Setup, undisturbed: Path) -> Facts:
    """Two nodes with one worker each and no shared disk; the node of rank 1 is killed and restarted."""
    port, runs = free_port(), two_runs(setup, "node")
    endpoint = f"127.0.0.1:{port}"
    first = of_two_nodes(setup, endpoint, runs[0], 0)
    while not listening(port):                     # the first one there keeps the meeting point
        time.sleep(0.1)
    second = of_two_nodes(setup, endpoint, runs[1], 1)
    while not any(log_of(run) for run in runs):
        time.sleep(0.02)
    writer = next(run for run in runs if log_of(run))
    facts = amid_an_epoch(writer, first)
    second.kill()
    again = of_two_nodes(setup, endpoint, runs[1], 1)
    ends = [first.end(), again.end()]
    newest = max(runs, key=lambda run: len(log_of(run)))
    return {**facts, "writer": writer.parent.name, "writer_at_the_end": newest.parent.name, "nodes": ends,
            **compare(newest, undisturbed)}  # fmt: skip


DRILLS: Drills = {
    "worker": drill_worker, "writer": drill_writer, "machine": drill_machine, "node": drill_node,
}  # fmt: skip


def listening(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def write_noise(folder: Path) -> None:
    """Class folders of noise with something to learn in it."""
    dice = np.random.default_rng(0)
    for part, count in (("train", 400), ("val", 101)):
        for shade, name in enumerate(("dark", "bright")):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = dice.integers(0, 200, (40, 40, 3)) + 55 * shade
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{number:03}.png")


def begin(args: argparse.Namespace, scratch: Path) -> Setup:
    changes = [part for change in args.change for part in ("--set", change)]
    if args.recipe:
        return Setup(scratch, args.recipe.absolute(), args.data.absolute(), changes)
    (scratch / "recipe.toml").write_text(RECIPE)
    write_noise(scratch / "noise")
    return Setup(scratch, scratch / "recipe.toml", scratch / "noise", changes)


def main(drills: Drills, description: str | None) -> None:
    """The command of a script of such drills."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drill", action="append", choices=drills, help="repeatable [all]")
    parser.add_argument("--recipe", type=Path, help="for real images; with --data")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="change", action="append", default=[], help="key=value over the recipe")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    if (args.recipe is None) != (args.data is None):
        parser.error("--recipe and --data go together")
    with tempfile.TemporaryDirectory() as folder:
        setup = begin(args, Path(folder))
        recipe = read_recipe(setup.recipe, dict(change.split("=", 1) for change in args.change))
        undisturbed = setup.scratch / "undisturbed"
        document: Facts = {
            "schema": 1,
            "recipe": recipe.model_dump(mode="json"),
            "machine": machine_facts(),
            "undisturbed": one_node(setup, undisturbed).end(),
            "drills": {},
        }
        for name in args.drill or drills:
            description = " ".join((drills[name].__doc__ or "").split())
            document["drills"][name] = {"what": description, **drills[name](setup, undisturbed)}
            print(name, json.dumps(document["drills"][name]), flush=True)
            save_text(args.output, json.dumps(document, indent=1) + "\n")
    if not all(facts["equal"] for facts in document["drills"].values()):
        sys.exit("not every run ended as if it had been left in peace")


if __name__ == "__main__":
    main(DRILLS, __doc__)
