"""Output of an evaluation, for ``wrn evaluate`` and ``wrn merge``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wideresnet.cli.options import TextOrJson
from wideresnet.cli.output import list_problems, print_record
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import say

if TYPE_CHECKING:
    from wideresnet.records import EvalReport, Item, Labels
    from wideresnet.tasks.evaluate.evaluate import AnswerSource


def count_with_bar(source: AnswerSource, *, check_order: bool) -> EvalReport:
    """Count the answers of ``source`` with a bar; say how to continue if Ctrl-C ends a run that is written to a file.

    With ``check_order`` raise DataError if the labels cannot be in the order of the classes.
    """
    from wideresnet.report.formats import model_text
    from wideresnet.tasks.evaluate.evaluate import count

    if (engine := source.blank.engine) and (run := source.blank.conditions):
        say(model_text(source.blank.model, len(run.labels.names), run.preprocess.crop, engine), err=True)
    try:
        report = run_with_bar(count(source, check_order=check_order), "evaluating", "images")
    except KeyboardInterrupt:
        if source.file:
            say(f"stopped; the scores so far are kept beside {source.file}: --resume continues", err=True)
        raise
    if source.file:
        say(f"{source.file}: {report.n:,} scores, {len(report.failures):,} failed", err=True)
    return report


def show_report(
    report: EvalReport, format: TextOrJson, page: Path | None, labels: Labels, items: Mapping[str, Item]
) -> None:
    """Print a report, write its page, list its failures. ``items``: the available images by path."""
    from wideresnet.report import evaluation

    if page:
        from wideresnet.output.atomic import save_text
        from wideresnet.report.html.evaluation import shown_paths
        from wideresnet.tasks.classify.thumbnails import thumbnails

        drawn = thumbnails(report, items)
        save_text(page, evaluation.to_html(report, labels, drawn))
        if absent := set(shown_paths(report)) - set(drawn):
            say(f"{page} lacks {len(absent)} images: they cannot be read from here, or it would be too large", err=True)
    print_record(report, evaluation.to_json, evaluation.to_text, format)
    list_problems(report.warnings, report.failures, report.skipped, report.data)
