"""Write the tables of docs/serve.md from the newest day's benchmarks/results/DATE-serve-….json.

``python tools/make_load_table.py`` writes; a test compares, so that no figure is ever copied by hand.
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
    """Write the page anew."""
    PAGE.write_text(page(), "utf-8")


def page() -> str:
    """What docs/serve.md should hold."""
    files = sorted(RESULTS.glob("*-serve-*.json"))
    newest = [file for file in files if file.name.partition("-serve-")[0] == files[-1].name.partition("-serve-")[0]]
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    parts = [part for file in newest for part in tables(json.loads(file.read_text("utf-8")), file.name)]
    return "\n\n".join([before + BEGIN, *parts, END + rest.partition(END)[2]])


def tables(document: dict[str, Any], file: str) -> list[str]:
    """The conditions and the tables of one run."""
    machine, given = document["machine"], document["conditions"]
    where = f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['date'][:10]}, load {machine['load1']:.1f} before"
    versions = ", ".join(f"{name} {version}" for name, version in given["versions"].items())
    parts = [
        f"**{given['model']}**, {given['pictures']} JPEGs of {given['bytes'] / 1000:.0f} KB in turn; {where};"
        f" {versions}; [{file}](../benchmarks/results/{file})",
        table(("", "clients", "images/s", "p50, ms", "p99, ms", "errors"), load_rows(document["turns"])),
        table(
            ("clients", "answered/s", "429/s", "p50 of the answered, ms", "p99, ms", "other"),
            [overload_row(each) for each in document["overload"]],
        ),
    ]
    if marks := document.get("memory"):
        words = ", ".join(f"{megabytes:.0f} MB after {int(count):,}" for count, megabytes in marks.items())
        parts.append(f"Resident memory as requests are answered: {words}.")
    return parts


def load_rows(turns: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each contestant and number of clients: the mean of its turns, of p99 the largest."""
    rows = []
    for name, clients in dict.fromkeys((each["server"], each.get("clients")) for each in turns):
        own = [each for each in turns if (each["server"], each.get("clients")) == (name, clients)]
        rate = f"{fmean(each['images_per_s'] for each in own):.1f}"
        if clients is None:
            rows.append((name, "", rate, "", "", ""))
            continue
        p50, p99 = fmean(each["p50_ms"] for each in own), max(each["p99_ms"] for each in own)
        errors = sum(each["errors"] + each["refused"] for each in own)
        rows.append((name, str(clients), rate, f"{p50:.0f}", f"{p99:.0f}", str(errors)))
    return rows


def overload_row(result: dict[str, Any]) -> tuple[str, ...]:
    """Clients that ask again at once, whatever they are answered."""
    codes, seconds = dict(result["codes"]), result["seconds"]
    served, refused = (codes.pop(code, 0) / seconds for code in ("200", "429"))
    other = sum(codes.values()) + result["errors"]
    return (
        str(result["clients"]), f"{served:.1f}", f"{refused:.0f}",
        f"{result['p50_ms']:.0f}", f"{result['p99_ms']:.0f}", str(other),
    )  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


if __name__ == "__main__":
    main()
