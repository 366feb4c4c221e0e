"""What settings add to a recipe: each trained with several seeds, beside the recipe as it is.

    python benchmarks/ablate.py wrn-16-1-cifar10-short --seeds 3 --runs runs/ablation \
        --try cutout=8 --try "mixup=0.2 label_smoothing=0.1" --try schedule=cosine -o ablation.json

Every line of the table is ``wrn train RECIPE --seeds N --set …`` in a folder of its own below ``--runs``; the same
command continues after an interruption and trains no finished run again. The JSON document and the Markdown table
beside it are written after each line. Differences are paired by seed; their 95 % interval is that of ``wrn train
--seeds``, mean ± t(n - 1) · s / √n. With k lines one in 20 intervals misses 0 by chance.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from wideresnet.machine import machine_facts
from wideresnet.records import student_t

Document = Mapping[str, Any]                       # of ``wrn train --seeds N --format json``
HEAD = f"| settings | top-1, % | 95 % interval | difference | 95 % interval | minutes a run |\n|{'---|' * 6}\n"


def train(settings: str, args: argparse.Namespace) -> Document:
    """Train the recipe with ``settings``, ``key=value`` separated by spaces, or continue."""
    folder = args.runs / (re.sub(r"[^\w.=-]+", "_", settings) or "recipe")
    changes = [part for change in settings.split() for part in ("--set", change)]
    data = ["--data", str(args.data)] if args.data else []
    command = ["train", str(args.recipe), "--seeds", str(args.seeds), "-o", str(folder), *data, *changes]
    done = subprocess.run(
        [sys.executable, "-m", "wideresnet", *command, "--format", "json"], stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def compare(settings: str, document: Document, base: Document) -> dict[str, Any]:
    """Return a line: accuracies of ``document``, and their differences from ``base`` by seed, in points."""
    before = {run["seed"]: run["top1"] for run in base["runs"]}
    differences = [run["top1"] - before[run["seed"]] for run in document["runs"]]
    half = student_t(len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return {
        "settings": settings,
        **{key: document[key] for key in ("n", "mean", "deviation", "interval95", "runs")},
        "difference": mean(differences),
        "difference95": [mean(differences) - half, mean(differences) + half],
        "minutes": mean(run["seconds"] for run in document["runs"]) / 60,
    }


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines as a Markdown table; the first is the recipe as it is."""
    rows = []
    for index, line in enumerate(lines):
        low, high = line["interval95"]
        cells = [
            f"`{line['settings']}`" if line["settings"] else "the recipe",
            f"{line['mean']:.2f} ± {line['deviation']:.2f}", f"{low:.2f} to {high:.2f}",
            f"{line['difference']:+.2f}" if index else "",
            "{:+.2f} to {:+.2f}".format(*line["difference95"]) if index else "", f"{line['minutes']:.1f}",
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="name or TOML file")
    parser.add_argument("--try", dest="tried", action="append", default=[], metavar="'KEY=VALUE …'")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON; the table is beside it as .md")
    args = parser.parse_args()
    lines: list[dict[str, Any]] = []
    base: Document = {}
    for settings in ["", *args.tried]:
        document = train(settings, args)
        base = base or document
        lines.append(compare(settings, document, base))
        content = {"schema": 1, "recipe": args.recipe.stem, "lines": lines, "machine": machine_facts()}
        args.output.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        args.output.with_suffix(".md").write_text(table(lines), "utf-8")
    print(table(lines), end="")


if __name__ == "__main__":
    main()
