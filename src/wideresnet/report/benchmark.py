"""A benchmark as text, JSON and a page with charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from wideresnet.records import BenchReport, BenchRow, Profile, Tuning
from wideresnet.report.escape import json_text
from wideresnet.report.formats import busy_text, filled, grouped_table, plain, text_table
from wideresnet.report.html import page as html
from wideresnet.report.html.page import number

ROUNDED_ABOVE_PEAK = 1.005                         # shown as 101 %
SLOWEST = 15                                       # layers that the page lists

HEADS = (
    "what", "engine", "precision", "batch", "streams", "threads", "images/s", "p50 ms", "p95 ms", "p99 ms",
    "of peak", "MB", "n",
)  # fmt: skip
RIGHT = set(range(3, len(HEADS)))
TEXT_HEADS = ("", "batch", "streams", "threads", "images/s", "p50 ms", "p95 ms", "p99 ms", "peak", "MB")
INT8 = "quantised"                                 # prefix of an int8 model's note, which repeats its precision
RULES = (
    "All candidates took turns in one run; only ratios within it mean anything. images/s: the median of turns."
    " p50 to p99: waits for a batch, end to end for an image from its file to its answer, at start-up for the whole"
    " process. of peak: 2 x MACs x images/s over what a large matrix product in that precision reached in the same"
    " run. MB: the most memory of a fresh process that does only this."
)


def to_text(report: BenchReport) -> str:
    """Return tables of each model and profile, the machine's peak, and the candidates that were left out."""
    blocks = []
    for rows in _grouped(report.rows, "model"):
        groups: dict[str, list[tuple[str, ...]]] = {}
        for row in rows:
            _, engine, precision, *numbers, _, _ = _cells(row)
            title = f"{row.what}, {row.note}" if row.note else row.what
            groups.setdefault(title, []).append((f"{engine} {precision}", *numbers))
        blocks.append(f"{rows[0].model}\n{grouped_table(TEXT_HEADS, groups, set(range(1, len(TEXT_HEADS))))}")
    blocks.append(f"peak, G operations/s: {_peak(report)}" if report.rows else "")
    blocks += [filled(f"note: {remark}") for remark in _remarks(report)]
    blocks += map(_profile_text, report.profiles)
    blocks += [f"tuned: {_tuned(tuning)}" for tuning in report.tuned]
    blocks += [filled(f"left out: {name}: {reason}") for name, reason in report.skipped.items()]
    return "\n".join(filter(None, blocks))


def to_json(report: BenchReport) -> dict[str, Any]:
    """Return JSON values with stable names. Values not measured are null; ``peak`` is in G operations a second."""
    return {"schema": 1, **plain(report)}


def to_html(report: BenchReport) -> str:
    """Return a page with tables and charts of each measurement, the profiles, and the machine."""
    document, machine = to_json(report), [*html.fact_rows(report.machine), ("peak, G operations/s", _peak(report))]
    files = html.downloads({"benchmark.json": json_text(document), "benchmark.csv": html.csv_text(document["rows"])})
    return html.page(
        "Benchmark",
        [
            html.section("", html.paragraph(RULES), *map(html.paragraph, _remarks(report)), files),
            *(_measurement(rows) for of_model in _grouped(report.rows, "model") for rows in _grouped(of_model, "what")),
            *map(_profile_section, report.profiles),
            html.section("Tuned for this machine", *(html.paragraph(_tuned(tuning)) for tuning in report.tuned)),
            html.section("Left out", html.facts(list(report.skipped.items()))),
            html.section("Machine", html.facts(machine)),
            html.section("Asked for", html.facts(html.fact_rows(report.conditions))),
        ],
    )


def _measurement(rows: Sequence[BenchRow]) -> str:
    """Return the table and charts of one kind of measurement of one model."""
    heading = f"{rows[0].model}: {rows[0].what}"
    numbers = html.table((*HEADS[1:], "note"), [_cells(row)[1:] for row in rows], {index - 1 for index in RIGHT})
    if rows[0].what == "startup":
        steps = [(_name(row), *map(number, row.parts_ms.values()), number(row.p50_ms)) for row in rows]
        heads = ("", *rows[0].parts_ms, "whole process, ms")
        total = html.bars("Cold start to the first answer, p50", [(_name(row), row.p50_ms) for row in rows], "ms")
        return html.section(heading, numbers, html.table(heads, steps, set(range(1, len(heads)))), total)
    if rows[0].what == "latency":
        median = html.bars("Wait for one image, p50", [(_name(row), row.p50_ms) for row in rows], "ms")
        rare = html.bars("One wait in a hundred is longer (p99)", [(_name(row), row.p99_ms) for row in rows], "ms")
        return html.section(heading, numbers, median, rare)
    return html.section(
        heading,
        numbers,
        html.bars("Speed", [(_name(row), row.images_per_s) for row in rows], "images/s"),
        html.bars("Fraction of the peak of its precision", [(_name(row), 100 * row.peak_share) for row in rows], "%"),
    )


def _profile_section(profile: Profile) -> str:
    total = sum(layer.ms for layer in profile.layers)
    kinds: dict[str, float] = {}
    for layer in profile.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + layer.ms
    return html.section(
        f"Profile: {profile.model}, {profile.precision}",
        html.bars("Stages, for one image in one decode thread", list(profile.stages_ms.items()), "ms"),
        html.paragraph(f"Layers: one batch of {profile.batch}, {number(total)} ms in all."),
        html.bars("Kinds of layers", sorted(kinds.items(), key=lambda kind: -kind[1]), "ms"),
        html.table(*_slowest(profile), {3, 4}),
    )


def _profile_text(profile: Profile) -> str:
    total = sum(layer.ms for layer in profile.layers)
    stages = ", ".join(f"{name} {number(ms)}" for name, ms in profile.stages_ms.items())
    heads, rows = _slowest(profile)
    return "\n".join([
        f"profile of {profile.model}, {profile.precision}: one batch of {profile.batch}, {number(total)} ms",
        text_table([heads, *rows], {3, 4}),
        *([f"stages, ms an image in one decode thread: {stages}"] if stages else []),
    ])  # fmt: skip


def _slowest(profile: Profile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the heads and rows of a table of the slowest layers."""
    total = sum(layer.ms for layer in profile.layers)
    slowest = sorted(profile.layers, key=lambda layer: -layer.ms)[:SLOWEST]
    rows: list[tuple[str, ...]] = [
        (layer.name, layer.kind, layer.executed, number(layer.ms), _percent(layer.ms / total)) for layer in slowest
    ]
    return (f"slowest of {len(profile.layers)} layers", "kind", "executed by", "ms", "fraction"), rows


def _remarks(report: BenchReport) -> list[str]:
    """Return sentences on what disturbed the measurement."""
    above = sum(row.peak_share > ROUNDED_ABOVE_PEAK for row in report.rows)
    changed = f"{above} of {len(report.rows)} rows are above 100 % of the peak: the machine's speed changed in the run"
    return [*filter(None, [busy_text(report.machine)]), *([changed] if above else [])]


def _grouped(rows: Sequence[BenchRow], field: Literal["model", "what"]) -> list[list[BenchRow]]:
    values = dict.fromkeys(getattr(row, field) for row in rows)
    return [[row for row in rows if getattr(row, field) == value] for value in values]


def _cells(row: BenchRow) -> tuple[str, ...]:
    rate = "" if math.isnan(row.images_per_s) else number(row.images_per_s)
    return (
        row.what, row.engine, row.precision, str(row.batch), str(row.streams), str(row.threads), rate,
        number(row.p50_ms), number(row.p95_ms), number(row.p99_ms), _percent(row.peak_share), number(row.rss_mb),
        str(row.n), row.note,
    )  # fmt: skip


def _name(row: BenchRow) -> str:
    """Return the label of a row in charts."""
    first = row.note.partition(";")[0]
    batch = "" if row.what in ("latency", "startup") else f", batch {row.batch}"
    streams = f", {row.streams} streams" if row.streams > 1 else ""
    note = f", {first}" if first and not first.startswith(INT8) else ""
    return f"{row.engine} {row.precision}{batch}{streams}{note}"


def _percent(fraction: float) -> str:
    return "" if math.isnan(fraction) else f"{100 * fraction:.0f} %"


def _peak(report: BenchReport) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in asdict(report.peak).items() if value)


def _tuned(tuning: Tuning) -> str:
    return (
        f"{tuning.model}: {tuning.threads} threads, {tuning.streams} streams, batch {tuning.batch}"
        f" ({number(tuning.images_per_s)} images/s)"
    )
