"""An evaluation as text, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wideresnet.errors import DataError, os_errors_as
from wideresnet.pipes import read_file
from wideresnet.records import EvalReport, Labels, Masked, PassedOn, UncertaintyCounts, wilson_interval
from wideresnet.report import formats
from wideresnet.report.calibration import coverage_json, sizes_text
from wideresnet.report.escape import json_text
from wideresnet.report.formats import engine_text, interval_text, json_percent, percent, pick, pick_engine, pick_percent
from wideresnet.report.names import class_names

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCORES = ("precision", "recall", "f1")
MASKED = (
    "The images are of {present} of the network's classes. Unmasked, it may answer any class; masked, only those"
    " {present}, which is an easier question. Say which of the two you quote."
)


def to_text(report: EvalReport) -> str:
    """Return the accuracies and the conditions they hold under, in a few lines."""
    n, conditions = report.n, report.conditions
    lines = [
        f"{report.model} on {report.data}",
        _accuracy_line("top-1", report.correct1, n, report.interval95),
        _accuracy_line("top-5", report.correct5, n, report.interval95_top5)
        if report.max_k >= 5
        else f"  top-5  not known: the file has {report.max_k} answers an image",
    ]
    if report.masked:
        lines.append(f"  among the {report.masked.classes} classes of the data only:")
        for name, correct in (("top-1", report.masked.correct1), ("top-5", report.masked.correct5)):
            lines.append(_accuracy_line(name, correct, n, wilson_interval(correct, n)))
    if macro := report.macro_scores:
        shown = f"precision {percent(macro.precision, 2)}, recall {percent(macro.recall, 2)}, F1 {percent(macro.f1, 2)}"
        lines.append(f"  mean of {len(report.by_class):,} classes: {shown}")
    if report.calibrated:
        losses = f", NLL {report.nll:.4f}, Brier {report.brier:.4f}" if report.losses and n else ""
        lines.append(f"  calibration error {100 * report.calibration_error:.2f} % over {len(report.bins)} bins{losses}")
    if report.passed_on:
        lines.append(f"  {formats.passed_on_text(report.passed_on)}")
    if report.uncertainty and n:
        lines += _uncertainty_lines(report.uncertainty, report)
    if conditions and conditions.shards:
        lines.append(f"  shards {', '.join(conditions.shards)} of {conditions.pictures} images")
    failures = f"{len(report.failures)} failures"
    if report.engine is None:
        return "\n".join([*lines, f"  answers read from a file; {failures}"])
    engine = f"{engine_text(report.engine)}, {report.engine.threads} threads"
    return "\n".join([*lines, f"  {report.seconds:.1f} s with {engine}; {failures}"])


def _uncertainty_lines(counts: UncertaintyCounts, report: EvalReport) -> list[str]:
    """Return what is measured of the sets and the unknown images of a calibrated model."""
    lines, n = [], report.n
    if sets := counts.sets:
        realised = f"{percent(sets.covered / n, 2)} (95 % interval {interval_text(sets.interval95)})"
        lines.append(f"  sets at {100 * sets.level:g} % hold the right class of {realised}")
        lines.append(f"  with {sets.mean_size:.2f} classes on average: {sizes_text(sets)}")
        name_of = class_names(report.conditions.labels if report.conditions else Labels(()))
        fractions = sorted((covered / report.by_class[index].n, index) for index, covered in report.covered.items())
        ends = [f"{percent(value, 2)} ({name_of(index)})" for value, index in (*fractions[:1], *fractions[-1:])]
        lines += [f"  by class from {' to '.join(ends)}"] if ends else []
    called = f"{counts.unknown:,} of {n:,}, {percent(counts.unknown / n, 2)}"
    interval = interval_text(wilson_interval(counts.unknown, n))
    promised = f"  of genuine images {100 * counts.refused:g} % are promised"
    return [*lines, f"  unknown: {called} (95 % interval {interval});", promised]


def _accuracy_line(name: str, correct: int, n: int, interval: tuple[float, float]) -> str:
    accuracy = f"{100 * correct / n:.3f} %" if n else "nan %"
    return f"  {name}  {accuracy}   ({correct} of {n}; 95 % interval {interval_text(interval)})"


def to_json(report: EvalReport) -> dict[str, Any]:
    """Return JSON values: accuracies and intervals in percent; ``precision`` is what was executed.

    ``masked`` is null unless the data holds a subset of the network's classes. ``coverage`` and ``unknown``
    are those of calibrated models. ``counts`` is the complete record,
    which ``read_evaluation`` reads.
    """
    conditions = report.conditions
    return {
        "schema": 1,
        **pick(report, "model", "data"),
        **pick_percent(report, "top1", "top5"),
        **pick(report, "n", "correct1"),
        "correct5": report.correct5 if report.max_k >= 5 else None,
        **pick(report, "failures"),
        **pick_percent(report, "interval95", "interval95_top5"),
        "masked": _masked_json(report.masked, report.n) if report.masked else None,
        **pick_percent(report, "calibration_error"),
        **pick(report, "nll", "brier"),
        **(_uncertainty_json(report.uncertainty, report.n) if report.uncertainty else {}),
        **({"passed_on": _passed_on_json(report.passed_on)} if report.passed_on else {}),
        "macro": pick_percent(report.macro_scores, *SCORES) if report.macro_scores else None,
        "classes": class_rows(report, report.conditions.labels if report.conditions else None),
        "seconds": round(report.seconds, 3),
        **pick_engine(report.engine, threads=True),
        "shards": list(conditions.shards) if conditions else [],
        "assumed": list(conditions.assumed) if conditions else [],
        **pick(report, "skipped", "warnings"),
        "counts": asdict(report),
    }


def _uncertainty_json(counts: UncertaintyCounts, n: int) -> dict[str, Any]:
    sets, images = counts.sets, max(1, n)
    return {
        "coverage": {"level": json_percent(sets.level), **coverage_json(sets)} if sets else None,
        "unknown": {
            "n": counts.unknown, "refused": json_percent(counts.unknown / images),
            "interval95": list(map(json_percent, wilson_interval(counts.unknown, n))),
            "promised": json_percent(counts.refused), "p_values": list(counts.p_values),
        },
    }  # fmt: skip


def _passed_on_json(images: PassedOn) -> dict[str, Any]:
    fraction = json_percent(images.images / max(1, images.n))
    return {"fraction": fraction, **pick_percent(images, "certified95"), **pick(images, "is_unusual")}


def class_rows(report: EvalReport, labels: Labels | None) -> list[dict[str, Any]]:
    """Return the JSON values of each class that has images: counts, and scores in percent."""
    scores, names, covered = report.class_scores, labels.names if labels else (), report.covered
    return [
        {
            "index": index,
            "label": names[index] if index < len(names) else None,
            **asdict(counts),
            **({} if report.max_k >= 5 else {"correct5": None}),
            **(pick_percent(scores[index], *SCORES) if scores else dict.fromkeys(SCORES)),
            **({"covered": covered[index], "coverage": json_percent(covered[index] / counts.n)} if covered else {}),
        }
        for index, counts in report.by_class.items()
    ]


def _masked_json(masked: Masked, n: int) -> dict[str, Any]:
    """Return the accuracies among the classes of the data only."""
    return {
        **pick(masked, "classes", "correct1", "correct5"),
        "top1": json_percent(masked.correct1 / n),
        "top5": json_percent(masked.correct5 / n),
        "interval95": list(map(json_percent, wilson_interval(masked.correct1, n))),
    }


def read_evaluation(path: Path) -> EvalReport:
    """Return the record in a file that ``to_json`` filled. Raises DataError for another file."""
    try:
        with os_errors_as(DataError, f"cannot read {path}"):
            data = read_file(path)
        text = data.decode(json.detect_encoding(data), "replace")      # UTF-16 where PowerShell redirected the output
        return _record_adapter().validate_python(json.loads(text)["counts"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:       # pydantic's is a ValueError
        problem = f"{path} holds no evaluation"
        raise DataError(problem, hint="'wrn evaluate --format json' and 'wrn merge --format json' print one") from error


@cache
def _record_adapter() -> TypeAdapter[EvalReport]:
    from pydantic import TypeAdapter  # imported late: commands that read no evaluation start sooner

    return TypeAdapter(EvalReport)


def to_html(report: EvalReport, labels: Labels, images: Mapping[str, bytes]) -> str:
    """Return one self-contained page. ``images`` holds JPEG or PNG by path, of those in ``shown_paths``.

    An image that is not among them is shown as its caption alone.
    """
    from wideresnet.report.html.evaluation import evaluation_sections
    from wideresnet.report.html.page import downloads, page, paragraph, section, tiles

    masked = paragraph(MASKED.format(present=report.masked.classes)) if report.masked else ""
    files = downloads(number_files(report, labels))
    head = section("", tiles(_tiles(report)), paragraph(_summary(report)), masked, files)
    return page(f"{report.model} on {report.data}", [head, *evaluation_sections(report, labels, images)])


def number_files(report: EvalReport, labels: Labels) -> dict[str, str]:
    """Return the numbers as files that a page offers: by name, their texts."""
    from wideresnet.report.html.page import csv_text

    name_of = class_names(labels)
    pairs = [
        {"label": name_of(pair.label), "answer": name_of(pair.answer), "n": pair.n, "label_index": pair.label,
         "answer_index": pair.answer}
        for pair in report.confusions
    ]  # fmt: skip
    classes = csv_text(class_rows(report, labels))
    return {"evaluation.json": json_text(to_json(report)), "classes.csv": classes, "confusions.csv": csv_text(pairs)}


def accuracy_tile(name: str, correct: int, n: int) -> tuple[str, str, str]:
    """Return a tile for an accuracy with its interval."""
    if not n:
        return name, "–", "no image was answered"
    return name, percent(correct / n), f"95 %: {interval_text(wilson_interval(correct, n))}; {correct:,} right"


def _tiles(report: EvalReport) -> list[tuple[str, str, str]]:
    scope, masked = "", report.masked
    if masked:
        all_classes = f" ({len(report.conditions.labels.names):,} classes)" if report.conditions else ""
        scope = f", unmasked{all_classes}"
    rows = [(scope, report.correct1, report.correct5)]
    if masked:
        rows.append((f", masked ({masked.classes:,} classes)", masked.correct1, masked.correct5))
    tiles = [
        accuracy_tile(f"{name}{scope}", correct, report.n)
        for scope, *counts in rows
        for name, correct in zip(("top-1", "top-5"), counts, strict=True)
        if name == "top-1" or report.max_k >= 5
    ]
    if macro := report.macro_scores:
        note = f"precision {percent(macro.precision, 2)}, recall {percent(macro.recall, 2)}"
        tiles.append(("macro F1", percent(macro.f1, 2), f"{note}; mean of {len(report.by_class):,} classes"))
    failures = f"{len(report.failures):,} could not be read" if report.failures else "none failed"
    tiles.append(("images", f"{report.n:,}", failures))
    if report.calibrated:
        losses = f"; NLL {report.nll:.4f}, Brier {report.brier:.4f}" if report.losses and report.n else ""
        note = f"ECE, {len(report.bins)} bins{losses}"
        tiles.append(("calibration error", percent(report.calibration_error, 2), note))
    if counts := report.uncertainty:
        if sets := counts.sets:
            name, realised, note = accuracy_tile(f"coverage of sets at {100 * sets.level:g} %", sets.covered, sets.n)
            tiles.append((name, realised, f"{note}; {sets.mean_size:.2f} classes in a set"))
        name, called, _ = accuracy_tile("called unknown", counts.unknown, report.n)
        interval = interval_text(wilson_interval(counts.unknown, report.n))
        tiles.append((name, called, f"95 %: {interval}; {100 * counts.refused:g} % of genuine images promised"))
    return tiles


def _summary(report: EvalReport) -> str:
    engine = report.engine
    if engine is None:
        return "Answers were read from a file; what gave them is not known. Intervals are Wilson's."
    shards = report.conditions.shards if report.conditions else ()
    return (
        f"{engine.runtime} {engine.version} in {engine.precision}, {engine.threads} threads. Intervals are Wilson's."
        + (f" Only these shards of the data set: {', '.join(shards)}." if shards else "")
    )
