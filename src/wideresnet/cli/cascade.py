"""``wrn cascade``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.complete import model_names
from wideresnet.cli.groups import RuntimeOptions, with_groups
from wideresnet.cli.options import BatchSize, Format, Page
from wideresnet.cli.output import check_targets, hold_bundle, list_problems, locate, open_bundle, print_record, say_next
from wideresnet.cli.progress import run_with_bar

Members = Annotated[
    list[str],
    typer.Argument(help="Two models or more, the fastest first, the most accurate last; NAME@PIXELS: at another"
                   " resolution.", autocompletion=model_names),
]  # fmt: skip
MaxDrop = Annotated[
    float,
    typer.Option("--max-drop", min=0.001, max=100, help="Percentage points of top-1 that may be lost; without labels"
                 " the percentage of answers that may differ."),
]  # fmt: skip


@with_groups
def cascade(
    members: Members,
    data: Annotated[Path, typer.Option("--data", help="Images that no member was trained on, labelled or not.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    runtime: RuntimeOptions,
    batch_size: BatchSize = 0,
    max_drop: MaxDrop = 0.3,
    page: Page = None,
    format: Format = "table",
) -> None:
    """Make a cascade: a fast model answers the images it is sure of, and passes the others on to an accurate one.

    Half of the images choose the rule; the other half certify that it loses no more than --max-drop against the last
    model alone. The bundle holds all members, and is used as any other model. Exit code 1: no rule was certified and
    nothing is written, or an image could not be read.

    Example: wrn cascade small/ wrn_16_4.cifar10 --data cifar10 -o cascade/

    Example: wrn cascade wide_resnet50_2.tv2_in1k@176 wide_resnet50_2.tv2_in1k --data imagenet.csv -o cascade/
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import cascade as report
    from wideresnet.report import comparison
    from wideresnet.tasks.cascade.cascade import make_cascade, split_member
    from wideresnet.tasks.classify.thumbnails import thumbnails_of
    from wideresnet.tasks.load.load import ModelChoice
    from wideresnet.tasks.quantize.calibration_data import gate_images

    check_targets(page)
    hold_bundle(output, *members, *(name.rpartition("@")[0] for name in members))
    bundles = [open_bundle(ModelChoice(model), side) for model, side in map(split_member, members)]
    images, last = gate_images(locate(data), bundles[-1].labels), bundles[-1]
    settings = runtime.settings(batch_size, "ignore")
    done = run_with_bar(make_cascade(bundles, images, max_drop / 100, settings, output), unit="images")
    if page:
        items = {item.path: item for item in images.items}
        drawn = thumbnails_of(comparison.shown_paths(done.comparison), items, last.card.preprocess, "transpose")
        save_text(page, report.to_html(done, last.labels, drawn))
    print_record(done, report.to_json, report.to_text, format)
    list_problems(done.notes, done.failures, done.skipped, data)
    if done.bundle:
        say_next(("info", output), ("classify", "-m", output, "photos/"))
    raise typer.Exit(1 if done.failures or not done.bundle else 0)
