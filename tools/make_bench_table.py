"""Write the table of speeds in README.md and README.zh-CN.md from the newest file of benchmarks/results.

``python tools/make_bench_table.py`` writes; a test compares, so that no figure is ever copied by hand. A README
without the two marks is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- bench: written by 'make docs' -->", "<!-- /bench -->"

HEADS = {
    "README.md": ("measured", "runtime", "precision", "batch", "images/s", "p50, ms", "share of peak"),
    "README.zh-CN.md": ("测量项", "运行时", "精度", "批大小", "图像/秒", "p50，毫秒", "占峰值"),
}
CONDITIONS = {
    "README.md": "{model} on {cpu}, {cpus} CPUs, OpenVINO {openvino}, {day}; all in one run: [{file}]({link}).",
    "README.zh-CN.md": "{model}，{cpu}，{cpus} 个 CPU，OpenVINO {openvino}，{day}；同一次运行：[{file}]({link})。",
}


def main() -> None:
    """Write both files anew."""
    for name, text in pages().items():
        (ROOT / name).write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Path below the repository -> what the file should hold."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in HEADS}
    files = sorted(file for file in RESULTS.glob("*.json") if "-serve-" not in file.name)
    if not files:
        return texts
    document = json.loads(files[-1].read_text("utf-8"))
    return {name: with_table(text, name, document, files[-1].name) for name, text in texts.items()}


def with_table(text: str, readme: str, document: dict[str, Any], file: str) -> str:
    """``text`` with what stands between the two marks written anew."""
    if BEGIN not in text:
        return text
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = []
    for model in dict.fromkeys(row["model"] for row in document["rows"]):
        rows = best_rows([row for row in document["rows"] if row["model"] == model])
        parts += [conditions(readme, model, document, file), table(HEADS[readme], [line(row) for row in rows])]
    tables = "\n\n".join(parts)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def best_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each measurement, runtime and precision the fastest setting; starts by their time."""
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["what"], row["engine"], row["precision"], row["note"].partition(";")[0])
        if key not in best or speed(row) > speed(best[key]):
            best[key] = row
    return list(best.values())


def speed(row: dict[str, Any]) -> float:
    """Images a second, or what one start is the inverse of."""
    return float(row["images_per_s"] or 1e3 / row["p50_ms"])


def line(row: dict[str, Any]) -> tuple[str, ...]:
    """One row as cells; a note that tells two rows apart stands with the measurement."""
    note = "" if row["note"].startswith("quantised") else row["note"].partition(";")[0]
    rate, share = row["images_per_s"], row["peak_share"]
    return (
        row["what"] + (f", {note}" if note else ""), row["engine"], row["precision"], str(row["batch"]),
        f"{rate:.1f}" if rate else "", f"{row['p50_ms']:.1f}", f"{100 * share:.0f} %" if share else "",
    )  # fmt: skip


def conditions(readme: str, model: str, document: dict[str, Any], file: str) -> str:
    """What the figures hold for, in one line."""
    machine = document["machine"]
    return CONDITIONS[readme].format(
        model=model,
        cpu=machine["cpu"],
        cpus=machine["cpus"],
        openvino=machine["versions"]["openvino"],
        day=machine["date"][:10],
        file=file,
        link=f"benchmarks/results/{file}",
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


if __name__ == "__main__":
    main()
