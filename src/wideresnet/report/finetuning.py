"""A fine-tuning run as text, JSON and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import EvalReport, FinetuneReport, PathPoint
from wideresnet.report import evaluation
from wideresnet.report.escape import json_text
from wideresnet.report.formats import interval_text, json_percent, percent, pick
from wideresnet.report.html.evaluation import evaluation_sections, failure_table
from wideresnet.report.html.page import downloads, facts, lines, page, paragraph, section, side_by_side, table, tiles
from wideresnet.report.training import epoch_charts, training_images

PATH = (
    "For each strength of L2 a head was fitted to a part of the training images and validated on the others. The"
    " strength with the least loss was taken."
)
MODES = {"probe": "a new classifier on the features of", "full": "the whole network, from the weights of"}


def to_text(report: FinetuneReport) -> str:
    """Return the accuracies, how the model was chosen, and the files written."""
    evaluations = filter(None, (report.evaluation, report.test))
    return "\n".join(
        [
            f"{report.model}: {MODES[report.mode]} {report.source}, {len(report.labels.names)} classes,"
            f" {report.train:,} training images, {report.seconds:.0f} s",
            *(f"top-1 {_accuracy(result)} on {result.data}" for result in evaluations),
            report.chosen,
            f"{report.bundle}: the model;  {report.run}/report.html: the report",
        ]
    )


def to_json(report: FinetuneReport) -> dict[str, Any]:
    """Return JSON values: accuracies and intervals in percent; ``test`` is null without test images."""
    return {
        "schema": 1,
        **pick(report, "run", "bundle", "model", "mode", "source", "data"),
        "classes": len(report.labels.names),
        **pick(report, "train", "val", "chosen"),
        "evaluation": evaluation.to_json(report.evaluation),
        "test": evaluation.to_json(report.test) if report.test else None,
        "path": [{**asdict(point), "top1": json_percent(point.correct / point.n)} for point in report.path],
        "epochs": len(report.log),
        **pick(report, "failures", "skipped"),
        "seconds": round(report.seconds, 3),
    }


def to_html(report: FinetuneReport, images: Mapping[str, bytes]) -> str:
    """Return a page. ``images`` holds JPEG or PNG by path, of those that ``shown_evaluation`` shows."""
    shown = shown_evaluation(report)
    note = paragraph(f"Everything from here on is of {shown.data}, answered by the bundle as it was written.")
    unread = [failure for failure in report.failures if failure not in shown.failures]
    chosen = report.chosen[:1].upper() + report.chosen[1:]
    files = {"finetuning.json": json_text(to_json(report)), **evaluation.number_files(shown, report.labels)}
    return page(
        f"{report.model}: {MODES[report.mode]} {report.source}",
        [
            section("", tiles(_tiles(report)), paragraph(f"{chosen}. Intervals are Wilson's."), downloads(files)),
            section("Regularisation", *_path(report.path)),
            section("Training", *_curves(report.log)),
            section("Images", *training_images(report.labels, report.class_counts, report.first_images)),
            section("What it was made from", facts(list(report.notes.items()))),
            section("Images that could not be read", *failure_table(unread)),
            section("Evaluation", note),
            *evaluation_sections(shown, report.labels, images),
        ],
    )


def shown_evaluation(report: FinetuneReport) -> EvalReport:
    """Return the evaluation that the page shows: of the test images if there are any, else of the validation set."""
    return report.test or report.evaluation


def _tiles(report: FinetuneReport) -> list[tuple[str, str, str]]:
    evaluations = filter(None, (report.evaluation, report.test))
    unread = f"{len(report.failures):,} could not be read" if report.failures else "all could be read"
    images = f"{report.train:,} for training, {report.val:,} for validation; {unread}"
    return [
        *(evaluation.accuracy_tile(f"top-1 on {result.data}", result.correct1, result.n) for result in evaluations),
        ("classes", f"{len(report.labels.names):,}", ""),
        ("images", f"{report.train + report.val:,}", images),
        ("time", f"{report.seconds:,.0f} s", "of the last call, without the evaluation"),
    ]


def _path(path: Sequence[PathPoint]) -> list[str]:
    if not path:
        return []
    best = min(path, key=lambda point: point.loss)
    losses = [(math.log10(point.l2), point.loss) for point in path]
    accuracies = [(math.log10(point.l2), 100 * point.correct / point.n) for point in path]
    rows = [
        (f"{point.l2:g}", f"{point.loss:.4f}", percent(point.correct / point.n, 2), "taken" if point is best else "")
        for point in path
    ]
    axis = "strength of L2, powers of ten"
    return [
        paragraph(PATH),
        side_by_side(
            lines("Loss on held-out images", {"loss": losses}, axis, "loss"),
            lines("Accuracy on held-out images", {"top-1": accuracies}, axis, "%"),
        ),
        table(("L2", "loss", f"top-1, n = {best.n:,}", ""), rows, {0, 1, 2}),
    ]


def _curves(log: Sequence[Mapping[str, float]]) -> list[str]:
    if not log:
        return []
    minutes = sum(line["seconds"] for line in log) / 60
    return [paragraph(f"{len(log)} epochs in {minutes:.1f} minutes."), *epoch_charts(log, "validation")]


def _accuracy(report: EvalReport) -> str:
    if not report.n:
        return "unknown: no image could be answered"
    return f"{percent(report.top1, 2)} (95 %: {interval_text(report.interval95)}, n = {report.n:,})"
