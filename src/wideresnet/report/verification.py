"""Measured beside published accuracy, as text and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import EvalReport, Published, Target, Verification
from wideresnet.report.document import of_evaluation, percent
from wideresnet.report.text import columns

HEADS = (
    "", "model", "top-1", "published", "points", "top-5", "published", "points", "n", "allowed", "precision",
    "parameters", "thop", "published by",
)  # fmt: skip
RIGHT = {2, 3, 4, 5, 6, 7, 8, 11, 12}
THOP = "thop: what the tool thop counts, MACs + 4 x the elements that pass a batch norm."


def text(rows: Sequence[Verification]) -> str:
    """The table of what was measured, the rules it was judged by, and what was left out and why."""
    judged = [row for row in rows if row.allowed]
    left_out = [row for row in rows if not row.allowed]
    parts = [columns([HEADS, *map(_cells, judged)], RIGHT)] if judged else ["nothing was verified"]
    if judged:
        parts.append("\n".join([*_rules(judged), *_conditions(judged)]))
    if also := [line for row in judged for line in _also(row)]:
        parts.append("\n".join(["also published", *also]))
    if left_out:
        parts.append(columns([(_verdict(row), row.info.name, row.note) for row in left_out], set()))
    return "\n\n".join(parts)


def line(row: Verification) -> str:
    """One verdict as soon as it is known, in a line."""
    name, report = row.info.name, row.report
    if report is None or row.target is None or row.allowed is None:
        return f"{_verdict(row)}  {name}: {row.note}"
    shares = f"top-1 {_share(report.top1)} for {_share(row.target.top1)}, top-5 {_share(report.top5)} for"
    return f"{row.verdict}  {name}: {shares} {_share(row.target.top5)}, n = {report.n}"


def document(rows: Sequence[Verification]) -> dict[str, Any]:
    """Accuracies in percent, ``points`` and ``tolerance`` in percentage points. What there is not is null."""
    return {"schema": 1, "models": [_of_row(row) for row in rows]}


def _of_row(row: Verification) -> dict[str, Any]:
    allowed, difference = row.allowed, row.difference
    return {
        "name": row.info.name,
        "verdict": row.verdict,
        "note": row.note,
        "parameters": row.info.parameters,
        "thop_macs": row.info.thop_macs,
        "target": _of_figures(row.target) if row.target else None,
        "points": {"top1": percent(difference[0]), "top5": percent(difference[1])} if difference else None,
        "allowed": {
            "rule": allowed.rule,
            "tolerance": percent(allowed.tolerance),
            "level": percent(allowed.level),
            "top1": [percent(share) for share in allowed.top1],
            "top5": [percent(share) for share in allowed.top5],
        } if allowed else None,
        "published": list(map(_of_figures, row.info.published)),
        "measured": _of_measured(row.report) if row.report else None,
    }  # fmt: skip


def _of_measured(report: EvalReport) -> dict[str, Any]:
    """As of an evaluation, with the hashes of its conditions but without the counts of every class."""
    found, known = of_evaluation(report), report.conditions
    del found["counts"], found["schema"]
    hashes = {"weights_sha256": known.weights_sha256, "data_sha256": known.data_sha256} if known else {}
    return {**found, **hashes}


def _of_figures(of: Target | Published) -> dict[str, Any]:
    return {**asdict(of), "top1": percent(of.top1), "top5": percent(of.top5)}


def _verdict(row: Verification) -> str:
    return "not here" if row.verdict == "absent" else row.verdict


def _cells(row: Verification) -> tuple[str, ...]:
    report, target, difference, allowed = row.report, row.target, row.difference, row.allowed
    assert report is not None
    assert target is not None
    assert difference is not None
    assert allowed is not None
    engine = report.engine.precision if report.engine else ""
    rule = f"± {100 * allowed.tolerance:g}" if allowed.rule == "tolerance" else "interval"
    return (
        row.verdict, row.info.name,
        _share(report.top1), _share(target.top1), f"{100 * difference[0]:+.3f}",
        _share(report.top5), _share(target.top5), f"{100 * difference[1]:+.3f}",
        f"{report.n}", rule, engine,
        f"{row.info.parameters / 1e6:.3f} M", f"{row.info.thop_macs / 1e9:.3f} G", target.source,
    )  # fmt: skip


def _rules(rows: Iterable[Verification]) -> list[str]:
    """What passes, for the rules that were used."""
    used = {row.allowed.rule: row.allowed for row in rows if row.allowed}
    lines = []
    if "tolerance" in used:
        points = 100 * used["tolerance"].tolerance
        lines.append(f"± {points:g}: the whole data set was run, and both figures are within {points:g} points.")
    if "interval" in used:
        level = 100 * used["interval"].level
        lines.append(
            f"interval: not the whole set was run; both published figures are in the {level:g} % interval (Wilson) of"
            " what was measured."
        )
    return [*lines, THOP]


def _conditions(rows: Sequence[Verification]) -> list[str]:
    """On what, and by what, in a line for each way."""
    reports = [row.report for row in rows if row.report]
    lines = [f"{report.data}: {_of_data(report)}; {_of_engine(report)}" for report in reports]
    failures = sum(len(report.failures) for report in reports)
    return [*dict.fromkeys(lines), *([f"{failures} images could not be read"] if failures else [])]


def _of_data(report: EvalReport) -> str:
    known = report.conditions
    return f"{known.pictures} images, hash {known.data_sha256[:12]}" if known else f"{report.n} images"


def _of_engine(report: EvalReport) -> str:
    engine = report.engine
    return f"{engine.runtime} {engine.version}, {engine.precision}" if engine else "answers from a file"


def _also(row: Verification) -> Iterable[str]:
    """What others printed of the same weights."""
    others = [each for each in row.info.published if row.target and each.source != row.target.source]
    if others:
        yield f"  {row.info.name}: " + "; ".join(map(_published, others))


def _published(each: Published) -> str:
    return f"{_share(each.top1)} / {_share(each.top5)} ({each.source})"


def _share(share: float) -> str:
    return f"{100 * share:.3f}"
