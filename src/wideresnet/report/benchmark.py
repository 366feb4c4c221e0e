"""A benchmark as a JSON document, as text, and as a page with plots"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import BenchReport, BenchRow, Profile, Tuning
from wideresnet.report.html.page import SERIES, bars, facts, lines, number, page, paragraph, section, table, words
from wideresnet.report.text import columns

SLOWEST = 15                                       # layers that the page lists

HEADS = (
    "what", "engine", "precision", "batch", "streams", "threads", "images/s", "p50 ms", "p95 ms", "p99 ms",
    "of peak", "MB", "n",
)  # fmt: skip
RIGHT = set(range(3, len(HEADS)))
INT8 = "quantised"                                 # how the note on an int8 twin begins: said by its precision
RULES = (
    "All contestants took turns in one run; only ratios within it mean anything. images/s: the median of turns."
    " p50 to p99: waits for a batch, end to end for an image from its file to its answer, at start-up for the whole"
    " process. of peak: 2 x MACs x images/s over what a large matrix product in that precision reached in the same"
    " run. MB: the most memory of a fresh process that does only this."
)


def document(report: BenchReport) -> dict[str, Any]:
    """Field names are stable. What was not measured is null; ``peak`` is in G operations a second."""
    whole: dict[str, Any] = _without_nan(asdict(report))
    return {"schema": 1, **whole}


def text(report: BenchReport) -> str:
    """The table, a model at a time, with the machine's limit and what could not take part."""
    parts = []
    for model, rows in _by_model(report):
        cells = [_cells(row) for row in rows]
        parts.append(f"{model}\n{columns([(*HEADS, 'note'), *cells], RIGHT)}")
    parts.append(f"peak, G operations/s: {_peak(report)}" if report.rows else "")
    parts += [f"tuned: {_tuned(each)}" for each in report.tuned]
    parts += [f"left out: {name}: {why}" for name, why in report.skipped.items()]
    return "\n".join(filter(None, parts))


def html(report: BenchReport) -> str:
    """One page: tables and plots of each measurement, the profiles, the machine."""
    machine = [(key.replace("_", " "), words(value)) for key, value in report.machine.items() if value]
    asked = [(key.replace("_", " "), words(value)) for key, value in report.conditions.items() if value]
    return page(
        "Benchmark",
        [
            section("", paragraph(RULES)),
            *(_measured(rows) for _, of_model in _by_model(report) for rows in _by_what(of_model)),
            *map(_profile_section, report.profiles),
            section("Tuned for this machine", *(paragraph(_tuned(each)) for each in report.tuned)),
            section("Left out", facts(list(report.skipped.items()))),
            section("Machine", facts([*machine, ("peak, G operations/s", _peak(report))])),
            section("Asked for", facts(asked)),
        ],
    )


def _measured(rows: Sequence[BenchRow]) -> str:
    """One kind of measurement of one model: its table and its plots."""
    what, heading = rows[0].what, f"{rows[0].model}: {rows[0].what}"
    numbers = table((*HEADS[1:], "note"), [_cells(row)[1:] for row in rows], {place - 1 for place in RIGHT})
    if what == "startup":
        parts = [(_name(row), *map(number, row.parts_ms.values()), number(row.p50_ms)) for row in rows]
        heads = ("", *rows[0].parts_ms, "whole process, ms")
        whole = bars("Cold start to the first answer, p50", [(_name(row), row.p50_ms) for row in rows], "ms")
        return section(heading, numbers, table(heads, parts, set(range(1, len(heads)))), whole)
    if what == "latency":
        fastest = sorted(rows, key=lambda row: row.p50_ms)[:SERIES]
        waits = {_name(row): [(50.0, row.p50_ms), (95.0, row.p95_ms), (99.0, row.p99_ms)] for row in fastest}
        middle = bars("Wait for one image, p50", [(_name(row), row.p50_ms) for row in rows], "ms")
        return section(heading, numbers, middle, lines("Percentiles of the fastest", waits, "percentile", "ms"))
    return section(
        heading,
        numbers,
        bars("Speed", [(_name(row), row.images_per_s) for row in rows], "images/s"),
        bars("Share of the peak of its precision", [(_name(row), 100 * row.peak_share) for row in rows], "%"),
    )


def _profile_section(profile: Profile) -> str:
    whole = sum(layer.ms for layer in profile.layers)
    slowest = sorted(profile.layers, key=lambda layer: -layer.ms)[:SLOWEST]
    kinds: dict[str, float] = {}
    for layer in profile.layers:
        kinds[layer.kind] = kinds.get(layer.kind, 0.0) + layer.ms
    rows = [(each.name, each.kind, each.executed, number(each.ms), _percent(each.ms / whole)) for each in slowest]
    how = f"Layers: one batch of {profile.batch}, {number(whole)} ms in all."
    return section(
        f"Profile: {profile.model}, {profile.precision}",
        bars("Stages, for one image in one decode thread", list(profile.stages_ms.items()), "ms"),
        paragraph(how),
        bars("Kinds of layers", sorted(kinds.items(), key=lambda kind: -kind[1]), "ms"),
        table((f"slowest of {len(profile.layers)} layers", "kind", "executed by", "ms", "share"), rows, right={3, 4}),
    )


def _by_model(report: BenchReport) -> list[tuple[str, list[BenchRow]]]:
    names = dict.fromkeys(row.model for row in report.rows)
    return [(name, [row for row in report.rows if row.model == name]) for name in names]


def _by_what(rows: Sequence[BenchRow]) -> list[list[BenchRow]]:
    return [[row for row in rows if row.what == what] for what in dict.fromkeys(row.what for row in rows)]


def _cells(row: BenchRow) -> tuple[str, ...]:
    rate = "" if math.isnan(row.images_per_s) else number(row.images_per_s)
    return (
        row.what, row.engine, row.precision, str(row.batch), str(row.streams), str(row.threads), rate,
        number(row.p50_ms), number(row.p95_ms), number(row.p99_ms), _percent(row.peak_share), number(row.rss_mb),
        str(row.n), row.note,
    )  # fmt: skip


def _name(row: BenchRow) -> str:
    """A row in few words, as plots label it."""
    first = row.note.partition(";")[0]
    batch = "" if row.what in ("latency", "startup") else f", batch {row.batch}"
    streams = f", {row.streams} streams" if row.streams > 1 else ""
    note = f", {first}" if first and not first.startswith(INT8) else ""
    return f"{row.engine} {row.precision}{batch}{streams}{note}"


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.0f} %"


def _peak(report: BenchReport) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in asdict(report.peak).items() if value)


def _tuned(tuning: Tuning) -> str:
    return (
        f"{tuning.model}: {tuning.threads} threads, {tuning.streams} streams, batch {tuning.batch}"
        f" ({number(tuning.images_per_s)} images/s)"
    )


def _without_nan(value: Any) -> Any:
    """The same with None for nan, which JSON does not have."""
    match value:
        case dict():
            return {key: _without_nan(each) for key, each in value.items()}
        case list() | tuple():
            return [_without_nan(each) for each in value]
        case float():
            return None if math.isnan(value) else value
    return value
