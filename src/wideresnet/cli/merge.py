"""``wrn merge``"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.evaluation import show_report
from wideresnet.cli.options import Format, Page
from wideresnet.cli.output import check_targets, list_notes
from wideresnet.cli.streams import say


def merge(
    reports: Annotated[list[Path], typer.Argument(help="The output of 'wrn evaluate --shard i/n --format json'.")],
    format: Format = "table",
    page: Page = None,
) -> None:
    """Merge the evaluations of the shards of a data set, exactly.

    Missing shards are named on stderr, and the exit code is 1.

    Example: wrn merge part1.json part2.json part3.json part4.json
    """
    from wideresnet.records import Labels
    from wideresnet.report.evaluation import read_evaluation
    from wideresnet.tasks.evaluate.label_order import with_order_warning
    from wideresnet.tasks.evaluate.merge import merge as add_up
    from wideresnet.tasks.evaluate.merge import missing

    check_targets(page)
    list_notes(f"{path} is named {n} times and counted once" for path, n in Counter(reports).items() if n > 1)
    report = add_up({str(path): read_evaluation(path) for path in dict.fromkeys(reports)})
    labels = report.conditions.labels if report.conditions else Labels(())
    show_report(with_order_warning(report, labels), format, page, labels, {})
    shards = missing(report)
    if shards:
        say(f"missing: {', '.join(shards)}", err=True)
    raise typer.Exit(1 if shards or report.failures else 0)
