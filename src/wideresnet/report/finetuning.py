"""A fine-tuning run as a page, as text, and as a JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records import EvalReport, FinetuneReport, PathPoint
from wideresnet.report import document
from wideresnet.report.evaluation import evaluation_sections, failures, percent, share_tile
from wideresnet.report.html.page import beside, facts, lines, page, paragraph, section, table, tiles

PATH = (
    "A head was fitted with each strength of L2 to a part of the training images, and judged by the rest of them. The"
    " strength with the least loss was taken."
)
MODES = {"probe": "a new classifier on the features of", "full": "the whole network, from the weights of"}


def judged_by(report: FinetuneReport) -> EvalReport:
    """The evaluation that the page shows: of test images where there are such."""
    return report.test or report.evaluation


def draw_finetuning(report: FinetuneReport, images: Mapping[str, bytes]) -> str:
    """One page (HTML). ``pictures``: JPEG or PNG by path, of those that ``judged_by`` shows."""
    judged = judged_by(report)
    shown = paragraph(f"Everything from here on is of {judged.data}, answered by the bundle as it was written.")
    unread = [each for each in report.failures if each not in judged.failures]
    return page(
        f"{report.model}: {MODES[report.mode]} {report.source}",
        [
            section("", tiles(_figures(report)), paragraph(f"{_first_upper(report.chosen)}. Intervals are Wilson's.")),
            section("Regularisation", *_path(report.path)),
            section("Training", *_curves(report.log)),
            section("What it was made from", facts(list(report.notes.items()))),
            section("Images that could not be read", *failures(unread)),
            section("How it was judged", shown),
            *evaluation_sections(judged, report.labels, images),
        ],
    )


def of_finetuning(report: FinetuneReport) -> str:
    """Some lines for people."""
    found = [f"top-1 {_accuracy(each)} on {each.data}" for each in (report.evaluation, report.test) if each]
    return "\n".join(
        [
            f"{report.model}: {MODES[report.mode]} {report.source}, {len(report.labels.names)} classes,"
            f" {report.train:,} images to learn from, {report.seconds:.0f} s",
            *found,
            report.chosen,
            f"{report.bundle}: the model;  {report.run}/report.html: the report",
        ]
    )


def document_of(report: FinetuneReport) -> dict[str, Any]:
    """Accuracies and intervals in percent; ``test`` is null without test images."""
    return {
        "schema": 1,
        "run": report.run,
        "bundle": report.bundle,
        "model": report.model,
        "mode": report.mode,
        "source": report.source,
        "data": report.data,
        "classes": len(report.labels.names),
        "train": report.train,
        "val": report.val,
        "chosen": report.chosen,
        "evaluation": document.of_evaluation(report.evaluation),
        "test": document.of_evaluation(report.test) if report.test else None,
        "path": [{**asdict(point), "top1": document.percent(point.correct / point.n)} for point in report.path],
        "epochs": len(report.log),
        "failures": [asdict(failure) for failure in report.failures],
        "skipped": asdict(report.skipped),
        "seconds": round(report.seconds, 3),
    }


def _figures(report: FinetuneReport) -> list[tuple[str, str, str]]:
    judged = [each for each in (report.evaluation, report.test) if each]
    found = [share_tile(f"top-1 on {each.data}", each.correct1, each.n) for each in judged]
    parts = f"{report.train:,} to learn from, {report.val:,} in val"
    unread = f"{len(report.failures):,} could not be read" if report.failures else "all could be read"
    return [
        *found,
        ("classes", f"{len(report.labels.names):,}", ""),
        ("images", f"{report.train + report.val:,}", f"{parts}; {unread}"),
        ("time", f"{report.seconds:,.0f} s", "of the last call, without the evaluation"),
    ]


def _path(path: Sequence[PathPoint]) -> list[str]:
    if not path:
        return []
    best = min(path, key=lambda point: point.loss)
    exponents = [(math.log10(point.l2), point) for point in path]
    rows = [
        (f"{point.l2:g}", f"{point.loss:.4f}", percent(point.correct / point.n, 2), "taken" if point is best else "")
        for point in path
    ]
    axis = "strength of L2, powers of ten"
    return [
        paragraph(PATH),
        beside(
            lines("Loss on held-out images", {"loss": [(at, point.loss) for at, point in exponents]}, axis, "loss"),
            lines(
                "Accuracy on held-out images",
                {"top-1": [(at, 100 * point.correct / point.n) for at, point in exponents]}, axis, "%",
            ),
        ),
        table(("L2", "loss", f"top-1, n = {best.n:,}", ""), rows, {0, 1, 2}),
    ]  # fmt: skip


def _curves(log: Sequence[Mapping[str, float]]) -> list[str]:
    if not log:
        return []
    loss = [(line["epoch"] + 1, line["loss"]) for line in log]
    top1 = [(line["epoch"] + 1, 100 * line["top1"]) for line in log]
    return [
        paragraph(f"{len(log)} epochs in {sum(line['seconds'] for line in log) / 60:.1f} minutes."),
        beside(
            lines("Training loss", {"loss": loss}, "epoch", "loss"),
            lines("Accuracy on val", {"top-1": top1}, "epoch", "%"),
        ),
    ]


def _accuracy(report: EvalReport) -> str:
    if not report.n:
        return "unknown: no image could be answered"
    low, high = report.interval95
    return f"{percent(report.top1, 2)} (95 %: {100 * low:.2f} to {100 * high:.2f}, n = {report.n:,})"


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
