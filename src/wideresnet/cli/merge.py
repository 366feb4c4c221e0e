"""``wrn merge``"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.evaluate import Page, show
from wideresnet.cli.options import Format, TextOrJson
from wideresnet.cli.output import check_targets, list_notes
from wideresnet.cli.streams import say


def merge(
    reports: Annotated[list[Path], typer.Argument(help="What 'wrn evaluate --shard i/n --format json' printed.")],
    format: Format = TextOrJson.table,
    page: Page = None,
) -> None:
    """Add evaluations of the shards of a data set up to that of the whole, exactly.

    Shards that are missing are named on stderr, and the exit code is 1.

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
    show(with_order_warning(report, labels), format, page, labels, {})
    left = missing(report)
    if left:
        say(f"missing: {', '.join(left)}", err=True)
    raise typer.Exit(1 if left or report.failures else 0)
