"""Write the newest file of ``benchmarks/results`` as tables: all rows into docs/bench.md, six into the READMEs, and
rates per CPU into the guide for production.

``python tools/make_bench_table.py`` writes; a test compares, so that no figure is copied by hand. A page without the
two marks stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- bench: written by 'make docs' -->", "<!-- /bench -->"

SIZING_PAGE = "docs/guides/production.md"
SIZING_BEGIN, SIZING_END = "<!-- sizing: written by 'make docs' -->", "<!-- /sizing -->"
SIZING_HEADS = (
    "precision", "images/s, from files to a file", "per CPU", "one image from its bytes: p50, ms", "p95", "p99",
    "memory, MB",
)  # fmt: skip

# The rows of the READMEs, from image bytes to answers, as in use: measurement, runtime, precision.
README_ROWS = (
    ("end-to-end", "plain-script", "f32"),
    ("end-to-end", "openvino", "f32"),
    ("end-to-end", "openvino", "bf16"),
    ("end-to-end", "openvino", "int8"),
    ("latency, from an image's bytes", "openvino", "f32"),
    ("latency, from an image's bytes", "openvino", "int8"),
)


class Page(NamedTuple):
    """A page with a table: its words, and the rows it shows (None: all)."""

    heads: tuple[str, ...]
    conditions: str
    rows: tuple[tuple[str, str, str], ...] | None = README_ROWS
    names: dict[str, str] | None = None          # translations of measurements


ENGLISH = ("measured", "runtime", "precision", "batch", "images/s", "p50, ms", "of peak")
CHINESE = ("测量项", "运行时", "精度", "批大小", "图片/秒", "p50（毫秒）", "占峰值比例")
CONDITIONS = "{model} on {cpu}, {cpus} CPUs, OpenVINO {openvino}, {day}; all in one run: [{file}]({link})."
PAGES = {
    "README.md": Page(ENGLISH, CONDITIONS),
    "README.zh-CN.md": Page(
        CHINESE,
        "{model}，{cpu}，{cpus} 个 CPU，OpenVINO {openvino}，{day}；全部数据来自同一次运行：[{file}]({link})。",
        names={"end-to-end": "端到端", "latency, from an image's bytes": "单张延迟（含解码）"},
    ),
    "docs/bench.md": Page(ENGLISH, CONDITIONS, rows=None),
}  # fmt: skip


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Return the content of each page by its path in the repository."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in PAGES}
    files = sorted(file for file in RESULTS.glob("*.json") if "-serve-" not in file.name)
    if not files:
        return texts
    document = json.loads(files[-1].read_text("utf-8"))
    tables = {name: with_table(text, name, document, files[-1].name) for name, text in texts.items()}
    return tables | {SIZING_PAGE: with_sizing((ROOT / SIZING_PAGE).read_text("utf-8"), document, files[-1].name)}


def with_table(text: str, name: str, document: dict[str, Any], file: str) -> str:
    """Return ``text`` with a new table between the two marks, one for each model of the document."""
    if BEGIN not in text:
        return text
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page = PAGES[name]
    blocks = []
    for model in dict.fromkeys(row["model"] for row in document["rows"]):
        rows = best_rows([row for row in document["rows"] if row["model"] == model])
        cells = selected([line(row) for row in rows], page.rows)
        cells = [((page.names or {}).get(row[0], row[0]), *row[1:]) for row in cells]
        blocks += [conditions(name, model, document, file), table(page.heads, cells)]
    tables = "\n\n".join(blocks)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def with_sizing(text: str, document: dict[str, Any], file: str) -> str:
    """Return ``text`` with a new table of rates, latencies and memory of the default engine, one row a precision."""
    rows = {
        (row["what"], row["note"].partition(";")[0].startswith("from"), row["precision"]): row
        for row in document["rows"]
        if row["engine"] == "openvino"
    }
    cells, cpus = [], document["machine"]["cpus"]
    for precision in ("f32", "bf16", "int8"):
        files, one = rows["end-to-end", False, precision], rows["latency", True, precision]
        cells.append((
            precision, f"{files['images_per_s']:.1f}", f"{files['images_per_s'] / cpus:.1f}",
            *(f"{one[key]:.0f}" for key in ("p50_ms", "p95_ms", "p99_ms")), f"{files['rss_mb']:.0f}",
        ))  # fmt: skip
    head = CONDITIONS.format(
        model=document["rows"][0]["model"], cpu=document["machine"]["cpu"], cpus=cpus,
        openvino=document["machine"]["versions"]["openvino"], day=document["machine"]["date"][:10],
        file=file, link=f"../../benchmarks/results/{file}",
    )  # fmt: skip
    before, _, rest = text.partition(SIZING_BEGIN)
    _, _, after = rest.partition(SIZING_END)
    return f"{before}{SIZING_BEGIN}\n{head}\n\n{table(SIZING_HEADS, cells)}\n{SIZING_END}{after}"


def best_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fastest setting of each measurement, runtime and precision."""
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["what"], row["engine"], row["precision"], row["note"].partition(";")[0])
        if key not in best or speed(row) > speed(best[key]):
            best[key] = row
    return list(best.values())


def speed(row: dict[str, Any]) -> float:
    """Return images per second; for a start, starts per second."""
    return float(row["images_per_s"] or 1e3 / row["p50_ms"])


def line(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a row; a note that distinguishes two rows follows the measurement."""
    note = "" if row["note"].startswith("quantised") else row["note"].partition(";")[0]
    note = note.replace("a picture's", "an image's")         # results of before 2026-11-29
    rate, fraction = row["images_per_s"], row["peak_share"]
    return (
        row["what"] + (f", {note}" if note else ""), row["engine"], row["precision"], str(row["batch"]),
        f"{rate:.1f}" if rate else "", f"{row['p50_ms']:.1f}", f"{100 * fraction:.0f} %" if fraction else "",
    )  # fmt: skip


def selected(
    cells: Sequence[tuple[str, ...]], keys: Sequence[tuple[str, str, str]] | None
) -> Sequence[tuple[str, ...]]:
    """Return the rows that begin with the given cells, in that order; all for None."""
    if keys is None:
        return cells
    return [row for key in keys for row in cells if row[:3] == key]


def conditions(name: str, model: str, document: dict[str, Any], file: str) -> str:
    """Return the conditions of the measurements as one line."""
    machine = document["machine"]
    return PAGES[name].conditions.format(
        model=model,
        cpu=machine["cpu"],
        cpus=machine["cpus"],
        openvino=machine["versions"]["openvino"],
        day=machine["date"][:10],
        file=file,
        link=f"{'../' * name.count('/')}benchmarks/results/{file}",
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
