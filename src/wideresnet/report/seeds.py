"""The runs of several seeds as text, JSON and a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wideresnet.records import SeedsReport
from wideresnet.report.formats import interval_text, json_percent, percent, text_table
from wideresnet.report.html import page as html

FORMULA = "mean ± t(n - 1) · standard deviation / √n"
HEADS = ("seed", "top-1", "minutes", "run")


def to_text(report: SeedsReport) -> str:
    """Return one row a run, and the mean."""
    return text_table([HEADS, *_rows(report)], {0, 1, 2}) + f"\n\n{summary(report)}\n(interval: {FORMULA})"


def summary(report: SeedsReport) -> str:
    """Return ``top-1 88.28 ± 0.14 % (mean ± standard deviation, n = 3)`` and the interval of the mean."""
    finished = f"n = {report.n}" if report.n == report.requested else f"n = {report.n} of {report.requested}"
    if report.n == 1:
        return f"top-1 {percent(report.mean, 2)} ({finished})"
    mean, deviation = (f"{100 * value:.2f}" for value in (report.mean, report.deviation))
    text = f"top-1 {mean} ± {deviation} % (mean ± standard deviation, {finished})"
    return f"{text}; 95 % interval of the mean: {interval_text(report.interval95)} %"


def to_json(report: SeedsReport) -> dict[str, Any]:
    """Return the JSON document; accuracies are in percent."""
    runs = [
        {"seed": run.seed, "run": run.run, "top1": json_percent(run.top1), "seconds": round(run.seconds, 1)}
        for run in report.runs
    ]
    return {
        "schema": 1,
        "architecture": report.architecture,
        "data": report.images.name,
        "requested": report.requested,
        "n": report.n,
        "mean": json_percent(report.mean),
        "deviation": json_percent(report.deviation),
        "interval95": [json_percent(end) for end in report.interval95],
        "interval_formula": FORMULA,
        "runs": runs,
        "failures": len(report.images.failures),
        "skipped": asdict(report.images.skipped),
    }


def to_html(report: SeedsReport, conditions: Mapping[str, object]) -> str:
    """Return a page with the curves of all runs, the table, and the conditions."""

    def curves(title: str, key: str, axis: str, scale: float = 1) -> str:
        points = {
            f"seed {run.seed}": [(line["epoch"] + 1, scale * line[key]) for line in run.log if key in line]
            for run in report.runs
        }
        # One point is no curve.
        return html.lines(title, {name: curve for name, curve in points.items() if len(curve) > 1}, "epoch", axis)

    text = html.paragraph(f"{summary(report)} ({FORMULA}).")
    return html.page(
        f"{report.architecture} on {report.images.name}: {report.requested} seeds",
        [
            html.section("", text, html.table(HEADS, _rows(report), {0, 1, 2})),
            html.section(
                "Training",
                html.side_by_side(
                    curves("Test accuracy", "top1", "top-1, %", 100),
                    curves("Test loss", "val_loss", "loss"),
                    curves("Training loss", "loss", "loss"),
                ),
            ),
            html.section("Conditions", html.facts(html.fact_rows(conditions))),
        ],
    )


def _rows(report: SeedsReport) -> list[tuple[str, ...]]:
    return [(str(run.seed), percent(run.top1, 2), f"{run.seconds / 60:.1f}", run.run) for run in report.runs]
