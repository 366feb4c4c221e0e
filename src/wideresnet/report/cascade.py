"""A cascade as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median
from typing import Any

from wideresnet.records import Cascade, CascadePoint, CascadeReport, CascadeSpeed, Labels
from wideresnet.report import comparison
from wideresnet.report.escape import json_text
from wideresnet.report.formats import interval_text, percent, pick, pick_percent, text_table
from wideresnet.report.html import page as html

ROWS = 12                                          # of the curve, in text
HEADS = ("rule", "passed on", "top-1", "lost", "at most", "fewer MACs")
METHOD = (
    "One half of the images ordered the rules, from the safest to the cheapest; on the other half they were tested in"
    " this order, up to the first that may lose more than is allowed. All figures are of that half. 'At most' is the"
    " end of the 95 % interval for paired proportions."
)


def to_text(report: CascadeReport) -> str:
    """Return the verdict, the rule with what was measured, and the curve where nothing was certified."""
    rows = [_row(point, report.cascade) for point in report.curve[:: max(1, len(report.curve) // ROWS)]]
    lines = [f"{report.bundle}: {verdict(report)}" if report.bundle else verdict(report)]
    lines += [f"  {name}: {value}" for name, value in facts(report.cascade)]
    return "\n".join(lines if report.bundle else [*lines, "", text_table([HEADS, *rows], right={1, 2, 3, 4, 5})])


def verdict(report: CascadeReport) -> str:
    """Return what was certified, or why nothing was."""
    cascade, point = report.cascade, report.cascade.point
    limit, accurate = 100 * cascade.max_drop, cascade.members[-1].name
    loss = f"{limit:g} points of top-1" if cascade.labelled else f"{limit:g} % other answers"
    if cascade.certified:
        verb = "loses at most" if cascade.labelled else "gives at most"
        return f"certified: on images like these it {verb} {loss} against {accurate} (95 % confidence)"
    ends = f"95 % interval ends at {100 * point.bound95:.3f}"
    could = "no number of images could" if report.needed is None else f"about {report.needed:,} in all could"
    return f"not certified: {point.n:,} images cannot exclude more than {loss} against {accurate} ({ends}); {could}"


def facts(cascade: Cascade) -> list[tuple[str, str]]:
    """Return the members, the rule and the measurements of a cascade as names with values."""
    point, last = cascade.point, cascade.members[-1]
    members = [
        f"{member.name} ({member.preprocess.crop} px, {member.macs / 1e6:,.0f} M MACs, runs on"
        f" {percent(images / point.n, 1)})" for member, images in zip(cascade.members, point.reached, strict=True)
    ]  # fmt: skip
    answers = ("other answers", f"{percent(point.drop)}, at most {percent(point.bound95)}")
    if cascade.labelled:
        pair = f"{percent(point.top1, 2)}, {last.name} alone {percent(point.top1_accurate, 2)}"
        answers = ("top-1", f"{pair}; lost {100 * point.drop:+.3f} points, at most {100 * point.bound95:.3f}")
    temperatures = ", ".join(f"{member.temperature:.3f}" for member in cascade.members[:-1])
    speed = [("images/s", _speed_text(cascade.speed, cascade))] if cascade.speed else []
    images = f"{point.n:,} images of {cascade.data}, in {cascade.engine} {cascade.precision}"
    return [
        ("members", " -> ".join(members)),
        ("rule", f"images with {point.rule} below {_thresholds(point)} are passed on; temperatures: {temperatures}"),
        answers,
        ("passed on", f"{percent(point.passed_on, 2)} (95 % interval {interval_text(point.passed_on95)})"),
        ("cost", f"{point.macs / 1e6:,.1f} M MACs on average, {cascade.macs_ratio(point):.2f} times fewer"),
        *speed,
        ("measured on", f"{images}; {cascade.n_choice:,} others chose the rule"),
    ]


def _speed_text(speed: CascadeSpeed, cascade: Cascade) -> str:
    ratios, rates = speed.ratios, cascade.images_per_s
    return (
        f"{rates['cascade']:,.0f}, {cascade.members[-1].name} alone {rates['accurate']:,.0f}: {median(ratios):.2f}"
        f" times ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} turns of {speed.n:,} images; networks without"
        f" decoding, batch {speed.batch}, threads: {speed.threads}, {speed.cpu})"
    )


def to_json(report: CascadeReport) -> dict[str, Any]:
    """Return JSON values: accuracies and fractions in percent, losses in points; null where there are no labels."""
    return {
        "schema": 1, "bundle": report.bundle or None, **card_json(report.cascade),
        "curve": [_point_json(point, report.cascade) for point in report.curve],
        "flips": [comparison.flip_json(flip) for flip in report.comparison.flips],
        **pick(report, "needed", "failures", "notes", "skipped"),
    }  # fmt: skip


def card_json(cascade: Cascade) -> dict[str, Any]:
    """Return what a card says of a cascade; see ``to_json``."""
    members = [
        {**pick(member, "name", "sha256", "macs", "temperature"), "pixels": member.preprocess.crop}
        for member in cascade.members
    ]
    return {
        "members": members, **_point_json(cascade.point, cascade), **pick_percent(cascade, "max_drop"),
        **pick(cascade, "certified", "n_choice", "data", "labelled"),
        "images_per_s": {name: rate and round(rate, 1) for name, rate in cascade.images_per_s.items()},
        "speed": cascade.speed and {**asdict(cascade.speed), "ratios": cascade.speed.ratios},
    }  # fmt: skip


def _point_json(point: CascadePoint, cascade: Cascade) -> dict[str, Any]:
    accuracies = pick_percent(point, "top1_accurate", "top1")
    return {
        **pick(point, "rule", "thresholds", "reached", "n"), **pick_percent(point, "passed_on", "passed_on95"),
        **(accuracies if cascade.labelled else dict.fromkeys(accuracies)), **pick_percent(point, "drop", "bound95"),
        "macs_ratio": round(cascade.macs_ratio(point), 3),
    }  # fmt: skip


def to_html(report: CascadeReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """Return one self-contained page. ``images`` holds JPEG or PNG by path, of ``comparison.shown_paths``."""
    cascade, point = report.cascade, report.cascade.point
    title = "top-1, %" if cascade.labelled else "same answer as the last member, %"

    def curve(name: str, *points: CascadePoint) -> list[tuple[float, float]]:
        return [(100 * p.macs / cascade.members[-1].macs, 100 * getattr(p, name)) for p in points]

    costs, axis = curve("drop", *report.curve), "mean MACs, % of the last member's"
    limit = [(end(costs)[0], 100 * cascade.max_drop) for end in (min, max)]
    rates, ((cost, rate),) = curve("top1", *report.curve), curve("top1", point)
    accuracies = {
        "rules": rates, "last member alone": [(x, 100 * point.top1_accurate) for x in (min(costs)[0], 100.0)],
        "this rule": [(cost, min(y for _, y in rates)), (cost, rate)],
    }  # fmt: skip
    losses = {"measured": costs, "at most": curve("bound95", *report.curve), "allowed": limit}
    marks = ("this rule" if p == point else "" for p in report.curve)
    rows = [(*_row(p, cascade), mark) for p, mark in zip(report.curve, marks, strict=True)]
    rules = html.table((*HEADS, ""), rows, {1, 2, 3, 4, 5})
    charts = html.lines("Accuracy", accuracies, axis, title), html.lines("Loss", losses, axis, "points")
    return html.page(
        f"Cascade of {' and '.join(member.name for member in cascade.members)}",
        [
            html.section("", html.paragraph(verdict(report) + "."), html.facts(facts(cascade))),
            html.section("Rules", html.side_by_side(*charts), html.paragraph(METHOD)),
            html.section("", rules, html.downloads({"cascade.json": json_text(to_json(report))})),
            html.section("", html.paragraph(f"A is {cascade.members[-1].name} alone, B the cascade.")),
            comparison.flip_section(report.comparison, labels, images),
        ],
    )


def _row(point: CascadePoint, cascade: Cascade) -> tuple[str, ...]:
    top1 = percent(point.top1, 2) if cascade.labelled else "–"
    loss = f"{100 * point.drop:+.3f}", f"{100 * point.bound95:.3f}"
    rule = f"{point.rule} {_thresholds(point)}"
    return rule, percent(point.passed_on, 1), top1, *loss, f"{cascade.macs_ratio(point):.2f}"


def _thresholds(point: CascadePoint) -> str:
    return ", ".join(f"{threshold:.4f}" for threshold in point.thresholds)
