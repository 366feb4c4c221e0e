"""The tables of speeds in the READMEs and docs/bench.md agree with the newest file of results."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "make_bench_table.py"))


def row(engine: str, rate: float | None, **other: Any) -> dict[str, Any]:
    return {
        "model": "m", "what": "engine", "engine": engine, "precision": "int8", "batch": 1, "images_per_s": rate,
        "p50_ms": 50.0, "peak_share": 0.985, "note": "", **other,
    }  # fmt: skip


def document(*rows: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "A CPU", "cpus": 2, "date": "2026-01-02T03:04:05", "versions": {"openvino": "2026.1"}}
    return {"machine": machine, "rows": list(rows)}


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/bench.md", "docs/guides/production.md"])
def test_the_table_of_speeds_is_what_the_newest_results_say(name: str) -> None:
    assert TOOL["pages"]()[name] == (ROOT / name).read_text("utf-8"), "run 'make docs'"


def test_of_several_settings_the_fastest_is_shown_with_its_conditions() -> None:
    text = f"before\n{TOOL['BEGIN']}\nold\n{TOOL['END']}\nafter\n"
    results = document(row("a", 30.0), row("a", 36.25, batch=4), row("b", None, what="startup", peak_share=None))
    shown = TOOL["with_table"](text, "docs/bench.md", results, "2026-01-02-m.json")
    assert shown.startswith(f"before\n{TOOL['BEGIN']}\n")
    assert shown.endswith(f"\n{TOOL['END']}\nafter\n")
    assert "m on A CPU, 2 CPUs, OpenVINO 2026.1, 2026-01-02" in shown
    assert "(../benchmarks/results/2026-01-02-m.json)" in shown
    assert shown.splitlines()[-4:-2] == [
        "| engine | a | int8 | 4 | 36.2 | 50.0 | 98 % |",
        "| startup | b | int8 | 1 |  | 50.0 |  |",
    ]
    assert "old" not in shown


def test_a_readme_shows_the_chosen_rows_only() -> None:
    text = f"{TOOL['BEGIN']}\n{TOOL['END']}"
    results = document(
        row("openvino", 30.0, what="latency", note="from a picture's bytes", batch=1),
        row("openvino", 20.0), row("openvino", 40.0, what="end-to-end"),
    )  # fmt: skip
    shown = TOOL["with_table"](text, "README.zh-CN.md", results, "2026-01-02-m.json")
    assert shown.splitlines()[-3:-1] == [
        "| 端到端 | openvino | int8 | 1 | 40.0 | 50.0 | 98 % |",
        "| 单张延迟（含解码） | openvino | int8 | 1 | 30.0 | 50.0 | 98 % |",
    ]
    assert "(benchmarks/results/2026-01-02-m.json)" in shown


def test_rows_that_differ_by_their_note_are_two() -> None:
    rows = [row("a", 30.0, note="engine alone"), row("a", 20.0, note="from an image's bytes; quantised in memory")]
    assert [TOOL["line"](best)[0] for best in TOOL["best_rows"](rows)] == [
        "engine, engine alone", "engine, from an image's bytes",
    ]  # fmt: skip


def test_a_page_without_the_marks_is_left_alone() -> None:
    assert TOOL["with_table"]("text", "README.md", document(row("a", 1.0)), "f.json") == "text"
