"""What settings add to a recipe, and what they cost: each trained with several seeds, beside the recipe as it is.

    python benchmarks/ablate.py benchmarks/ablation-recipe.toml --settings benchmarks/ablation.toml \
        --runs runs/ablation -o ablation.json [--seeds 3] [--only cosine cutout] [--try "mixup=0.2 label_smoothing=0.1"]
    python benchmarks/ablate.py …the same… --table         read the finished runs and print the table; train nothing

A line of the table is a name of the settings file (TOML: ``[cosine]``, then settings of a recipe) or a ``--try``, and
has a folder below ``--runs`` with the runs of ``wrn train --seeds``. The same command continues after any interruption,
also kill -9, and trains no finished run again; more ``--seeds`` add runs; ``--only`` leaves the others for later. The
JSON document and the Markdown table beside it (.md) hold all finished lines and are replaced after each run. A line
whose loss is not finite is listed as failed, the others are trained.

Differences are paired by seed. Intervals are mean ± t(n - 1) · s / √n; with k lines one in 20 misses 0 by chance.

The cost is steps × seconds a step and the evaluations, as ``wrn train --dry-run`` estimates them, but in CPU seconds
(user and system) of one thread: on a shared machine those change little where seconds change by half, and threads that
wait for each other do not count. Recipe and line are measured in turns, ``ROUNDS`` times, before the line is trained;
``cost`` is the median of the ratios, ``cpu_minutes`` that of the line. Seconds of the runs themselves (``busy_s``)
include what else the machine did.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from wideresnet.cli.output import locate
from wideresnet.cli.training import parse_changes
from wideresnet.config import read_toml, toml_value
from wideresnet.errors import ConfigError, TrainingError, WrnError
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.output.lock import lock_output
from wideresnet.records import follow, student_t
from wideresnet.tasks.train.plan import plan_training
from wideresnet.tasks.train.seeds import train_seeds
from wideresnet.tasks.train.train import RECIPE, Epoch
from wideresnet.training.distributed import Group, find_device
from wideresnet.training.memory import keep_memory
from wideresnet.training.recipe import Recipe, read_recipe

BASE = "the recipe"
ROUNDS = 3                                         # of the cost
COST = "cost.json"
HEAD = f"| settings | n | top-1, % | difference | 95 % interval | cost | CPU minutes |\n|{'---|' * 7}\n"


@dataclass(frozen=True)
class Line:
    """The recipe with the ``changes`` of a name, and the folder of its runs."""

    name: str
    changes: Mapping[str, str]                     # key -> TOML value as text
    recipe: Recipe
    folder: Path


def read_lines(args: argparse.Namespace) -> list[Line]:
    """Return the recipe itself and every setting. Raises ConfigError before anything is trained."""
    named: dict[str, Mapping[str, str]] = {BASE: {}}
    if args.settings:
        content = read_toml(args.settings, "list of settings")
        if no_tables := [name for name, table in content.items() if not isinstance(table, dict) or not table]:
            raise ConfigError(f"{args.settings}: no settings in {no_tables[0]}", hint="write [NAME], then key = value")
        named |= {name: {key: json.dumps(value) for key, value in table.items()} for name, table in content.items()}
    named |= {text: parse_changes(text.split(), {}) for text in args.tried}
    lines = []
    for name, changes in named.items():
        folder = args.runs / re.sub(r"[^\w.=-]+", "_", name)
        lines.append(Line(name, changes, read_recipe(args.recipe, dict(changes)), folder))
    if len({line.folder for line in lines}) < len(lines):
        raise ConfigError("two settings have names of the same folder", hint="rename one of them")
    if unknown := set(args.only or ()) - set(named):
        raise ConfigError(f"no settings called {', '.join(sorted(unknown))}", hint=f"choose of {', '.join(named)}")
    return lines


def train(line: Line, base: Line, args: argparse.Namespace) -> Iterator[None]:
    """Measure the cost of ``line``, then train its missing seeds; yield after each."""
    group = Group(device=find_device(args.device))
    measure_cost(line, base, args, group)
    data = locate(args.data or Path(line.recipe.data))

    def show(event: object) -> None:
        if isinstance(event, Epoch):
            say(f"{line.name}: epoch {event.epoch + 1} of {line.recipe.epochs}, {event.seconds:.0f} s")

    for count in range(1, args.seeds + 1):         # one more each time: the document is written in between
        if len(finished_runs(line)) < count:
            follow(train_seeds(line.recipe, count, data, line.folder, group), show)
            yield


def measure_cost(line: Line, base: Line, args: argparse.Namespace, group: Group) -> None:
    """Write the estimated CPU seconds of runs of ``base`` and ``line``, in turns, to the line's folder, if missing."""
    if read_cost(line, base):
        return
    say(f"{line.name}: measuring the cost")
    recipes = [base.recipe] if line is base else [base.recipe, line.recipe]
    group = replace(group, local_size=available_cpus())                # one thread
    rounds = [
        [plan_training(recipe, args.data, group=group, clock=time.process_time).seconds for recipe in recipes]
        for _ in range(ROUNDS)
    ]
    seconds = {"base_cpu_s": [times[0] for times in rounds], "line_cpu_s": [times[-1] for times in rounds]}
    save_text(line.folder / COST, json.dumps(settings_of(line, base) | seconds) + "\n")


def read_cost(line: Line, base: Line) -> dict[str, Any] | None:
    """Return what ``measure_cost`` wrote; None where it is missing or of other settings."""
    file = line.folder / COST
    cost = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return cost if cost.items() >= settings_of(line, base).items() else None


def settings_of(line: Line, base: Line) -> dict[str, Any]:
    return {"base": base.recipe.model_dump(mode="json"), "line": line.recipe.model_dump(mode="json")}


def finished_runs(line: Line) -> list[dict[str, Any]]:
    """Return the finished runs of a line by seed. Raises ConfigError if they are those of other settings."""
    runs = []
    for folder in line.folder.glob("seed-*"):
        log = folder / "log.jsonl"
        if not log.exists() or not (folder / RECIPE).exists():
            continue
        stored, epochs = read_recipe(folder / RECIPE), [json.loads(text) for text in log.read_text().splitlines()]
        expected = line.recipe.model_copy(update={"seed": stored.seed, "teacher_sha256": stored.teacher_sha256})
        if stored != expected:
            keys = [key for key in Recipe.model_fields if getattr(stored, key) != getattr(expected, key)]
            raise ConfigError(f"{folder} is a run with other settings: {', '.join(keys)}", hint="rename the line")
        if len(epochs) == stored.epochs:
            last = epochs[-1]
            figures = {f"top1{end}": 100 * last[f"top1{end}"] for end in ("", "_flip") if f"top1{end}" in last}
            runs.append({"seed": stored.seed, **figures, "busy_s": sum(epoch["seconds"] for epoch in epochs)})
    return sorted(runs, key=lambda run: run["seed"])


def interval(values: Sequence[float]) -> list[float] | None:
    """Return the 95 % interval of the mean; None of a single value."""
    if len(values) < 2:
        return None
    half = student_t(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return [mean(values) - half, mean(values) + half]


def compare(line: Line, base: Line, failure: str = "") -> dict[str, Any]:
    """Return what is known of a line: accuracies in percent, their differences from ``base`` by seed, and the cost."""
    runs, before = finished_runs(line), {run["seed"]: run["top1"] for run in finished_runs(base)}
    accuracies = [run["top1"] for run in runs]
    differences = [run["top1"] - before[run["seed"]] for run in runs if run["seed"] in before]
    cost = read_cost(line, base)
    return {
        "settings": line.name,
        "changes": {key: toml_value(value) for key, value in line.changes.items()},
        "n": len(runs),
        "mean": mean(accuracies) if runs else None,
        "deviation": stdev(accuracies) if len(runs) > 1 else None,
        "interval95": interval(accuracies),
        "difference": mean(differences) if differences else None,
        "difference95": interval(differences),
        "pairs": len(differences),
        "cost": median(b / a for a, b in zip(cost["base_cpu_s"], cost["line_cpu_s"], strict=True)) if cost else None,
        "cpu_minutes": median(cost["line_cpu_s"]) / 60 if cost else None,
        "estimates": {key: cost[key] for key in ("base_cpu_s", "line_cpu_s")} if cost else None,
        "runs": runs,
        "failure": failure,
    }


def document(lines: Sequence[Line], failures: Mapping[str, str], args: argparse.Namespace) -> dict[str, Any]:
    """Return the JSON document of all lines with a finished or a failed run."""
    base = lines[0]
    rows = [compare(line, base, failures.get(line.name, "")) for line in lines]
    return {
        "schema": 1,
        "recipe": args.recipe.stem,
        "base": base.recipe.model_dump(mode="json"),
        "intervals": "mean ± t(n - 1) · s / √n; differences are paired by seed",
        "cost": f"median of {ROUNDS} ratios, recipe and line in turns, of the CPU seconds of one thread for all steps"
        " and evaluations, from a few measured steps",
        "lines": [row for row in rows if row["n"] or row["failure"]],
        "machine": machine_facts(),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines as a Markdown table."""

    def cell(value: object, text: str) -> str:
        return "" if value is None else text.format(*value) if isinstance(value, list) else text.format(value)

    text = HEAD
    for row in rows:
        changes = ", ".join(f"`{key}={json.dumps(value)}`" for key, value in row["changes"].items())
        base = not row["changes"]
        cells = [
            changes or BASE,
            str(row["n"]),
            row["failure"] or cell(row["mean"], "{:.2f}") + cell(row["deviation"], " ± {:.2f}"),
            "" if base else cell(row["difference"], "{:+.2f}"),
            "" if base else cell(row["difference95"], "{:+.2f} to {:+.2f}"),
            cell(row["cost"], "{:.2f}"),
            cell(row["cpu_minutes"], "{:.1f}"),
        ]
        text += f"| {' | '.join(cells)} |\n"
    return text


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(lines: Sequence[Line], failures: Mapping[str, str], args: argparse.Namespace) -> str:
    """Write the document and the table of what is finished; return the table."""
    content = document(lines, failures, args)
    save_text(args.output, json.dumps(content, indent=1) + "\n")
    text = table(content["lines"])
    save_text(args.output.with_suffix(".md"), text)
    return text


def run(args: argparse.Namespace) -> int:
    """Train and write, or only write; return 1 if a line failed."""
    lines, failures = read_lines(args), dict[str, str]()
    if args.table:
        print(write(lines, failures, args), end="")
        return 0
    keep_memory()
    chosen = [line for line in lines[1:] if args.only is None or line.name in args.only]
    with lock_output(args.runs, command=True, inside=True):
        for line in [lines[0], *chosen]:
            try:
                for _ in train(line, lines[0], args):
                    write(lines, failures, args)
            except TrainingError as error:
                failures[line.name] = error.message
                say(f"{line.name} failed: {error.message}\nhint: {error.hint}")
        print(write(lines, failures, args), end="")
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="name or TOML file")
    parser.add_argument("--settings", type=Path, metavar="FILE", help="TOML: a table for each line")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar="'KEY=VALUE …'")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these lines (and the recipe as it is)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each line")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--table", action="store_true", help="write document and table of the finished runs; no more")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON; the table is beside it as .md")
    try:
        return run(parser.parse_args())
    except WrnError as error:
        say(f"error: {error.message}\nhint: {error.hint}")
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command continues after the last complete epoch")
        return 130


if __name__ == "__main__":
    sys.exit(main())
