"""Measured beside published accuracy, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import EvalReport, Published, Target, Verification
from wideresnet.report import evaluation
from wideresnet.report.formats import engine_text, json_percent, pick, pick_percent, text_table
from wideresnet.report.models import THOP

HEADS = (
    "", "model", "top-1", "published", "points", "top-5", "published", "points", "n", "allowed", "precision",
    "parameters", "thop", "published by",
)  # fmt: skip
RIGHT = {2, 3, 4, 5, 6, 7, 8, 11, 12}


def to_text(rows: Sequence[Verification]) -> str:
    """Return the table of all measured models and its rules, other published figures, and the models left out."""
    measured = [row for row in rows if row.allowed]
    left_out = [(_verdict(row), row.info.name, row.note) for row in rows if not row.allowed]
    blocks = ["nothing was verified"]
    if measured:
        blocks = [
            text_table([HEADS, *map(_cells, measured)], RIGHT),
            "\n".join([*_rules(measured), *_conditions(measured)]),
        ]
    if also := [line for row in measured for line in _also_published(row)]:
        blocks.append("\n".join(["also published", *also]))
    if left_out:
        blocks.append(text_table(left_out))
    return "\n\n".join(blocks)


def to_json(rows: Sequence[Verification]) -> dict[str, Any]:
    """Return JSON values: accuracies in percent, ``points`` and ``tolerance`` in percentage points, or null."""
    return {"schema": 1, "models": list(map(_row_json, rows))}


def to_line(row: Verification) -> str:
    """Return one verdict on one line."""
    name, report = row.info.name, row.report
    if report is None or row.target is None or row.allowed is None:
        return f"{_verdict(row)}  {name}: {row.note}"
    top1 = f"top-1 {_points(report.top1)} for {_points(row.target.top1)}"
    return f"{row.verdict}  {name}: {top1}, top-5 {_points(report.top5)} for {_points(row.target.top5)}, n = {report.n}"


def _row_json(row: Verification) -> dict[str, Any]:
    allowed, difference = row.allowed, row.difference
    return {
        **pick(row.info, "name"),
        **pick(row, "verdict", "note"),
        **pick(row.info, "parameters", "thop_macs"),
        "target": _figures_json(row.target) if row.target else None,
        "points": {"top1": json_percent(difference[0]), "top5": json_percent(difference[1])} if difference else None,
        "allowed": allowed and pick(allowed, "rule") | pick_percent(allowed, "tolerance", "level", "top1", "top5"),
        "published": list(map(_figures_json, row.info.published)),
        "measured": _measured_json(row.report) if row.report else None,
    }


def _measured_json(report: EvalReport) -> dict[str, Any]:
    """Return the JSON of an evaluation with the hashes of its conditions, but without the counts of every class."""
    values, conditions = evaluation.to_json(report), report.conditions
    del values["counts"], values["schema"]
    if conditions:
        values |= {"weights_sha256": conditions.weights_sha256, "data_sha256": conditions.data_sha256}
    return values


def _figures_json(figures: Target | Published) -> dict[str, Any]:
    return asdict(figures) | pick_percent(figures, "top1", "top5")


def _verdict(row: Verification) -> str:
    return "not here" if row.verdict == "absent" else row.verdict


def _cells(row: Verification) -> tuple[str, ...]:
    report, target, difference, allowed = row.report, row.target, row.difference, row.allowed
    assert report is not None
    assert target is not None
    assert difference is not None
    assert allowed is not None
    return (
        row.verdict, row.info.name,
        _points(report.top1), _points(target.top1), f"{100 * difference[0]:+.3f}",
        _points(report.top5), _points(target.top5), f"{100 * difference[1]:+.3f}",
        f"{report.n}", f"± {100 * allowed.tolerance:g}" if allowed.rule == "tolerance" else "interval",
        report.engine.precision if report.engine else "",
        f"{row.info.parameters / 1e6:.3f} M", f"{row.info.thop_macs / 1e9:.3f} G", target.source,
    )  # fmt: skip


def _rules(rows: Iterable[Verification]) -> list[str]:
    """Return the conditions for passing, of the rules that were used."""
    used = {row.allowed.rule: row.allowed for row in rows if row.allowed}
    lines = []
    if "tolerance" in used:
        points = 100 * used["tolerance"].tolerance
        lines.append(f"± {points:g}: the whole data set was run, and both figures are within {points:g} points.")
    if "interval" in used:
        level, (low, high) = 100 * used["interval"].level, used["interval"].top1
        lines.append(
            f"interval: the figures are not of the same images; both published ones are in the {level:g} % interval"
            f" (exact) of the measured, ± {50 * (high - low):.2g} points of top-1: smaller differences do not show."
        )
    return [*lines, THOP]


def _conditions(rows: Sequence[Verification]) -> list[str]:
    """Return a line for each combination of data and engine."""
    lines, failures = [], 0
    for report in (row.report for row in rows if row.report):
        data, engine = report.conditions, report.engine
        images = f"{data.pictures} images, hash {data.data_sha256[:12]}" if data else f"{report.n} images"
        lines.append(f"{report.data}: {images}; {engine_text(engine) if engine else 'answers from a file'}")
        failures += len(report.failures)
    return [*dict.fromkeys(lines), *([f"{failures} images could not be read"] if failures else [])]


def _also_published(row: Verification) -> Iterable[str]:
    """Yield a line with the figures that other sources published of the same weights."""
    figures = [figure for figure in row.info.published if row.target and figure.source != row.target.source]
    if figures:
        texts = (f"{_points(figure.top1)} / {_points(figure.top5)} ({figure.source})" for figure in figures)
        yield f"  {row.info.name}: {'; '.join(texts)}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:.3f}"
