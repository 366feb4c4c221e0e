"""``wrn evaluate --published``: measured beside published accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.options import TextOrJson
from wideresnet.cli.output import list_failures, list_notes, print_record, say_skipped
from wideresnet.cli.progress import progress_bars, update_bar
from wideresnet.cli.streams import say

if TYPE_CHECKING:
    from wideresnet.records import Verification
    from wideresnet.tasks.evaluate.published import VerifySettings

OPTIONS = (
    "data", "model", "weights", "published", "limit", "tolerance", "engine", "precision", "threads", "device", "format",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedOptions:
    """A comparison with published accuracy."""

    published: Annotated[
        bool,
        typer.Option("--published", help="Compare with published accuracy: every -m, or all models on this machine."),
    ] = False
    limit: Annotated[
        int, typer.Option(min=0, help="With --published: number of images, the same share of every class; 0: all.")
    ] = 0
    tolerance: Annotated[
        float,
        typer.Option(min=0, help="With --published: accepted difference in percentage points, of all images."),
    ] = 0.1


def check_idle(context: typer.Context, published: bool) -> None:
    """Raise ConfigError for an option that has no effect with, or without, --published."""
    names = (str(parameter.name) for parameter in context.command.params if parameter.name not in OPTIONS)
    check_unused(context, published, "beside --published", *names)
    check_unused(context, not published, "without --published", "limit", "tolerance", hint="add --published")
    reason = "beside --limit: the interval of fewer images decides"
    check_unused(context, context.params["limit"] > 0, reason, "tolerance")


def verify(settings: VerifySettings, format: TextOrJson) -> bool:
    """Compare every model with its published accuracy; return whether all agree and every image could be read.

    Prints each verdict on stderr at once, since a run may take hours, and the table on stdout at the end.
    """
    from wideresnet.records import follow
    from wideresnet.report.published import to_json, to_line, to_text
    from wideresnet.tasks.evaluate import published

    rows: list[Verification] = []
    with progress_bars("images") as bars:
        task = bars.add_task("", total=None)
        for work in published.verify(settings):
            row = follow(work, lambda event: update_bar(bars, task, event))
            rows.append(row)
            if row.verdict in ("passed", "failed"):
                say(to_line(row), err=True)
                list_notes(row.report.warnings if row.report else (), "warning")
    print_record(rows, to_json, to_text, format)
    reports = [row.report for row in rows if row.report]
    list_failures(failure for report in reports for failure in report.failures)
    for report in reports[:1]:                     # all are of the same data
        say_skipped(report.skipped, report.data)
    return published.succeeded(rows)
