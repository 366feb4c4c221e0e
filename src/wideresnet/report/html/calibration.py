"""Sections of a calibration for its page: probabilities before and after, sets, selective answers, unknown images."""

from __future__ import annotations

from wideresnet.records import Bin, CalibrateReport, Uncertainty
from wideresnet.report.calibration import coverage_text, selective_text, unknown_text
from wideresnet.report.html import page as html
from wideresnet.report.html.charts import columns
from wideresnet.report.html.evaluation import CALIBRATION, P_VALUES, reliability_curve

FEWEST = 10                                        # images of a bin that is drawn
SETS = (
    "Sets of a level hold the right class of that percentage of images like those of the calibration. A set is never"
    " empty: where the level is below the accuracy, sets cover more."
)
SELECTIVE = "Answers of at least a probability are wrong at most as often as promised, with 95 % confidence."


def calibration_sections(report: CalibrateReport) -> list[str]:
    """Return the sections below a page's first figures."""
    model = report.uncertainty
    selective = [html.paragraph(selective_text(promise)) for promise in model.selective]
    return [
        html.section("Probabilities", *_probabilities(report.before, report.after)),
        html.section("Prediction sets", html.paragraph(SETS), *_sets(model)),
        html.section("Selective answers", *([html.paragraph(SELECTIVE), *selective] if selective else [])),
        html.section(
            "Unknown images", html.paragraph(P_VALUES.format(refused=f"{100 * model.unknown.refused:g} %")),
            html.paragraph(unknown_text(model)),
            html.side_by_side(*_unknown(report)),
        ),
        html.section("Conditions", html.facts(_conditions(report))),
    ]  # fmt: skip


def _probabilities(before: tuple[Bin, ...], after: tuple[Bin, ...]) -> list[str]:
    axis = "probability of the answer, %"
    curves = {name: reliability_curve(bins, FEWEST) for name, bins in (("before", before), ("after", after))}
    curves["perfect calibration"] = [(0.0, 0.0), (100.0, 100.0)]
    charts = [
        columns(f"Confidence of the answers, {name}", [bin_.n for bin_ in bins], (0, 100), (axis, "images"), colour)
        for colour, (name, bins) in enumerate((("before", before), ("after", after)))
    ]
    note = html.paragraph(f"{CALIBRATION.format(bins=len(after))} Bins of fewer than {FEWEST} images are not drawn.")
    return [note, html.lines("Reliability", curves, axis, "right, %"), html.side_by_side(*charts)]


def _sets(model: Uncertainty) -> list[str]:
    texts, charts = [], []
    for sets in model.coverage:
        last = max(size for size, count in enumerate(sets.sizes, start=1) if count)
        title, span = f"Classes in a set at {100 * sets.level:g} %", (0.5, last + 0.5)
        texts.append(html.paragraph(coverage_text(model.sets.method, sets)))
        charts += [columns(title, sets.sizes[:last], span, ("classes", "images"), colour=2)] if last > 1 else []
    return [*texts, html.side_by_side(*charts)]


def _unknown(report: CalibrateReport) -> list[str]:
    """Return the p-values of the test images, and their scores beside those of the images that set thresholds."""
    scores, unknown = report.scores, report.uncertainty.unknown
    width = (scores.most - scores.least) / len(scores.test)
    curves = {
        f"{name} ({sum(counts):,})": [
            (scores.least + (index + 0.5) * width, 100 * count / sum(counts)) for index, count in enumerate(counts)
        ]
        for name, counts in (("images measured", scores.test), ("images for thresholds", scores.thresholds))
    }  # fmt: skip
    limit, most = -unknown.scores.threshold(1 - unknown.refused), max(y for curve in curves.values() for _, y in curve)
    curves[f"unknown: below {limit:.4g}"] = [(limit, 0.0), (limit, most)]
    refused = f"{100 * unknown.refused:g} %"
    return [
        columns(f"P-values of the images, unknown below {refused}", report.p_values, (0, 1), ("p-value", "images"),
                limit=unknown.refused),
        html.lines("How well images fit what the network knows", curves, "known score", "images, %"),
    ]  # fmt: skip


def _conditions(report: CalibrateReport) -> list[tuple[str, str]]:
    model, scale = report.uncertainty, report.uncertainty.margin
    return [
        ("bundle", report.bundle), ("data", f"{model.data}, hash {model.data_sha256}"),
        ("images to fit", f"{model.n_fit:,}"), ("images for thresholds", f"{model.n_scores:,}"),
        ("images measured", f"{model.n_test:,} of {model.test}"), ("temperature", f"{model.temperature:.3f}"),
        ("factor of the logits", f"{scale.offset:.3f} + {scale.slope:.3f} x margin" if scale else "none"),
        ("not read", f"{len(report.failures):,} images"), *(("note", note) for note in report.notes),
    ]  # fmt: skip
