"""A calibration as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records import CalibrateReport, Selective, SetCoverage, Uncertainty, wilson_interval
from wideresnet.report.escape import json_text
from wideresnet.report.formats import interval_text, percent, pick

SIZES = 2                                          # of sets that texts list one by one


def to_text(report: CalibrateReport) -> str:
    """Return the bundle, and what was measured of probabilities, sets, unknown images and selective answers."""
    head = f"{report.bundle}: {report.model}, calibrated on {report.uncertainty.data}"
    return "\n  ".join([head, *lines(report.uncertainty)])


def lines(model: Uncertainty) -> list[str]:
    """Return the measurements of a calibration, a line each."""
    before, after = model.before, model.after
    return [
        f"{model.n_fit:,} images fit, {model.n_scores:,} set thresholds, {model.n_test:,} of {model.test} measured:",
        f"temperature {model.temperature:.3f}{_margin_text(model)}:"
        f" calibration error {percent(before.ece, 2)} -> {percent(after.ece, 2)},"
        f" by class {percent(before.classwise_ece, 2)} -> {percent(after.classwise_ece, 2)}, NLL {before.nll:.4f} ->"
        f" {after.nll:.4f}, Brier {before.brier:.4f} -> {after.brier:.4f}",
        *(coverage_text(model.sets.method, measured) for measured in model.coverage),
        unknown_text(model),
        *map(selective_text, model.selective),
    ]


def unknown_text(model: Uncertainty) -> str:
    """Return how many genuine images are called unknown."""
    unknown, refused, n = model.unknown, model.n_unknown, model.n_test
    bank = f"{unknown.method}, {unknown.bank}" if unknown.bank else unknown.method
    return (
        f"unknown ({bank}): {percent(refused / n, 2)} of genuine images refused (95 % interval"
        f" {interval_text(wilson_interval(refused, n))}), {100 * unknown.refused:g} % promised"
    )


def _margin_text(model: Uncertainty) -> str:
    scale = model.margin
    unchanged = " (not changed: all images to fit it are answered correctly)" if model.temperature == 1 else ""
    return f" and a factor of {scale.offset:.3f} + {scale.slope:.3f} x margin of the logits" if scale else unchanged


def to_json(report: CalibrateReport) -> dict[str, Any]:
    """Return JSON values: the bundle, its ``figures``, and problems."""
    return {
        **pick(report, "bundle", "model"), **figures(report.uncertainty), **pick(report, "failures", "notes", "skipped")
    }  # fmt: skip


def to_html(report: CalibrateReport) -> str:
    """Return one self-contained page."""
    from wideresnet.report.html.calibration import calibration_sections
    from wideresnet.report.html.page import downloads, page, section, tiles

    model = report.uncertainty
    values = [
        (name, shown, f"{earlier} before")
        for name, shown, earlier in (
            ("calibration error", percent(model.after.ece, 2), percent(model.before.ece, 2)),
            ("NLL", f"{model.after.nll:.4f}", f"{model.before.nll:.4f}"),
            ("Brier score", f"{model.after.brier:.4f}", f"{model.before.brier:.4f}"),
        )
    ]
    files = downloads({"calibration.json": json_text(to_json(report))})
    head = section("", tiles([*values, ("images measured", f"{model.n_test:,}", f"of {model.test}")]), files)
    return page(f"{report.model}, calibrated on {model.data}", [head, *calibration_sections(report)])


def figures(model: Uncertainty) -> dict[str, Any]:
    """Return JSON values: errors of calibration, coverage, refusals and their intervals in percent."""
    return {
        **pick(model, "data", "test", "n_fit", "n_scores", "n_test", "temperature"),
        "margin": asdict(model.margin) if model.margin else None,
        "nll_before": model.before.nll, "nll": model.after.nll,
        "brier_before": model.before.brier, "brier": model.after.brier,
        "ece_before": 100 * model.before.ece, "ece": 100 * model.after.ece,
        "classwise_ece_before": 100 * model.before.classwise_ece, "classwise_ece": 100 * model.after.classwise_ece,
        "sets": model.sets.method,
        "coverage": {f"{100 * measured.level:g}": coverage_json(measured) for measured in model.coverage},
        "selective": [
            {"error": 100 * promise.error, "probability": promise.probability, "answered": promise.n,
             "wrong": promise.wrong, "n": promise.total}
            for promise in model.selective
        ],
        "unknown": {
            **pick(model.unknown, "method", "bank", "k"), "promised": 100 * model.unknown.refused,
            "refused": 100 * model.n_unknown / model.n_test,
            "interval95": [100 * limit for limit in wilson_interval(model.n_unknown, model.n_test)],
        },
    }  # fmt: skip


def coverage_text(method: str, measured: SetCoverage) -> str:
    """Return the coverage and sizes of the sets of one level."""
    return (
        f"sets at {100 * measured.level:g} % ({method}): right class in {percent(measured.covered / measured.n, 2)}"
        f" (95 % interval {interval_text(measured.interval95)}), {measured.mean_size:.2f} classes on average, one class"
        f" for {percent(measured.sizes[0] / measured.n, 1)}"
    )


def selective_text(promise: Selective) -> str:
    """Return how many answers have the promised error, and how many of them are wrong."""
    return (
        f"answers of at least {percent(promise.probability, 1)}: {percent(promise.n / promise.total, 1)} of images,"
        f" {percent(promise.wrong / max(1, promise.n), 2)} of them wrong, at most {100 * promise.error:g} % promised"
    )


def sizes_text(sets: SetCoverage) -> str:
    """Return the distribution of set sizes: "1 for 83.1 %, 2 for 12.0 %, more for 4.9 %"."""
    first = [f"{size} for {percent(count / sets.n, 1)}" for size, count in enumerate(sets.sizes[:SIZES], start=1)]
    more = [f"more for {percent(sum(sets.sizes[SIZES:]) / sets.n, 1)}"] if len(sets.sizes) > SIZES else []
    return ", ".join(first + more)


def coverage_json(measured: SetCoverage) -> dict[str, Any]:
    """Return the coverage, its interval and the sizes of sets; null without images."""
    return {
        "realised": 100 * measured.covered / measured.n if measured.n else None, "n": measured.n,
        "interval95": [100 * limit for limit in measured.interval95],
        "mean_size": measured.mean_size, "sizes": list(measured.sizes),
    }  # fmt: skip
