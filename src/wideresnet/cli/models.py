"""``wrn models``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import Arithmetic, Engine, EngineName, Format, Precision, TextOrJson, Threads
from wideresnet.cli.output import list_notes, locate, print_json, progress_bars, say_skipped
from wideresnet.cli.streams import print_lines, say

if TYPE_CHECKING:
    from wideresnet.records import Verification
    from wideresnet.tasks.evaluate.published import VerifySettings


ONLY = "With --verify:"
Verify = Annotated[bool, typer.Option("--verify", help="Measure again what was published of the models here.")]
Data = Annotated[
    Path | None, typer.Option(help=f"{ONLY} labelled images, as for 'wrn evaluate'; else CIFAR, if in the cache.")
]
Models = Annotated[
    list[str] | None, typer.Option("--model", "-m", help=f"{ONLY} these alone; names or bundle folders.")
]
Folder = Annotated[Path | None, typer.Option(help=f"{ONLY} a folder with the publishers' files, for the cache.")]
Limit = Annotated[int, typer.Option(min=0, help=f"{ONLY} so many images, evenly of all classes; 0: all.")]
Tolerance = Annotated[float, typer.Option(min=0, help=f"{ONLY} points to be off by, where the whole set is run.")]


def models(
    context: typer.Context,
    verify: Verify = False,
    data: Data = None,
    model: Models = None,
    weights: Folder = None,
    limit: Limit = 0,
    tolerance: Tolerance = 0.1,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    format: Format = TextOrJson.table,
) -> None:
    """List every network: embedded, published and architectures to train.

    Accuracies are percent; "by" says who printed them, or that they were measured here.

    With --verify, evaluate every model whose weights are here, and show measured beside published accuracy; nothing
    is downloaded. Exit code 1: one is not as published, an image could not be read, or nothing was verified.

    Example: wrn models

    Example: wrn models --verify --data imagenet/val

    Example: wrn models --verify --data imagenet/val -m wide_resnet50_2.tv_in1k --limit 5000
    """
    from wideresnet.report import document, text
    from wideresnet.tasks.load.describe import list_models

    if verify:
        from wideresnet.tasks.evaluate.published import VerifySettings

        chosen, share = tuple(model or ()), tolerance / 100
        images = locate(data) if data else None
        _verify(VerifySettings(images, chosen, weights, limit, share, engine.value, precision.value, threads), format)
    only = ("data", "model", "weights", "limit", "tolerance", "engine", "precision", "threads")
    refuse_idle(context, True, "without --verify", *only, hint="add --verify")
    infos = list_models()
    if format is TextOrJson.json:
        print_json([document.of_model(info) for info in infos])
    else:
        print_lines(text.of_models(infos))


def _verify(settings: VerifySettings, format: TextOrJson) -> None:
    """Print every verdict on stderr as it comes, for a run may take hours, and all of them at the end."""
    from wideresnet.records import Progress
    from wideresnet.report import text, verification
    from wideresnet.tasks.evaluate.published import succeeded
    from wideresnet.tasks.evaluate.published import verify as verdicts

    rows: list[Verification] = []
    with progress_bars("images") as bars:
        task = bars.add_task("", total=None)
        for event in verdicts(settings):
            if isinstance(event, Progress):
                bars.update(task, description=event.what, completed=event.done, total=event.total)
                continue
            rows.append(event)
            if event.verdict in ("passed", "failed"):
                say(verification.line(event), err=True)
                list_notes(event.report.warnings if event.report else (), "warning")
    if format is TextOrJson.json:
        print_json(verification.document(rows))
    else:
        print_lines(verification.text(rows))
    for failure in dict.fromkeys(failure for row in rows if row.report for failure in row.report.failures):
        print_lines(text.of_failure(failure), err=True)
    for report in [row.report for row in rows if row.report][:1]:      # all are of the same data
        say_skipped([report.skipped], report.data)
    raise typer.Exit(0 if succeeded(rows) else 1)
