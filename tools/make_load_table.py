"""Write the tables of docs/serve.md from the newest day's benchmarks/results/DATE-serve-….json.

``python tools/make_load_table.py`` writes; a test compares, so that no figure is copied by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "serve.md", ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- load: written by 'make docs' -->", "<!-- /load -->"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """Return the content of docs/serve.md."""
    files = sorted(RESULTS.glob("*-serve-*.json"))
    newest = [file for file in files if file.name.partition("-serve-")[0] == files[-1].name.partition("-serve-")[0]]
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    blocks = [block for file in newest for block in tables(json.loads(file.read_text("utf-8")), file.name)]
    return "\n\n".join([before + BEGIN, *blocks, END + rest.partition(END)[2]])


def tables(document: dict[str, Any], file: str) -> list[str]:
    """Return the conditions and the tables of one run."""
    machine, settings = document["machine"], document["conditions"]
    host = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['date'][:10]}, load {machine['load1']:.1f} before"
    versions = ", ".join(f"{name} {version}" for name, version in settings["versions"].items())
    blocks = [
        f"**{settings['model']}**, {settings['pictures']} JPEGs of {settings['bytes'] / 1000:.0f} KB in turn; {host};"
        f" {versions}; [{file}](../benchmarks/results/{file})",
        table(("", "clients", "images/s", "p50, ms", "p99, ms", "errors"), load_rows(document["turns"])),
        table(
            ("clients", "answered/s", "429/s", "p50 of answered, ms", "p99, ms", "other"),
            [overload_row(result) for result in document["overload"]],
        ),
    ]
    if marks := document.get("memory"):
        sizes = ", ".join(f"{megabytes:.0f} MB after {int(count):,}" for count, megabytes in marks.items())
        blocks.append(f"Resident memory over the number of requests: {sizes}.")
    return blocks


def load_rows(turns: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a row per server and number of clients: the mean over its rounds, for p99 the maximum."""
    rows: list[tuple[str, ...]] = []
    for name, clients in dict.fromkeys((turn["server"], turn.get("clients")) for turn in turns):
        own = [turn for turn in turns if (turn["server"], turn.get("clients")) == (name, clients)]
        rate = f"{fmean(turn['images_per_s'] for turn in own):.1f}"
        if clients is None:
            rows.append((name, "", rate, "", "", ""))
            continue
        p50, p99 = fmean(turn["p50_ms"] for turn in own), max(turn["p99_ms"] for turn in own)
        errors = sum(turn["errors"] + turn["refused"] for turn in own)
        rows.append((name, str(clients), rate, f"{p50:.0f}", f"{p99:.0f}", str(errors)))
    return rows


def overload_row(result: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of an overload: clients that send the next request immediately after any response."""
    codes, seconds = dict(result["codes"]), result["seconds"]
    served, refused = (codes.pop(code, 0) / seconds for code in ("200", "429"))
    other = sum(codes.values()) + result["errors"]
    return (
        str(result["clients"]), f"{served:.1f}", f"{refused:.0f}",
        f"{result['p50_ms']:.0f}", f"{result['p99_ms']:.0f}", str(other),
    )  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
