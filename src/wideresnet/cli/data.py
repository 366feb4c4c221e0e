"""``wrn data``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.help import Command, Group
from wideresnet.cli.options import Format
from wideresnet.cli.output import check_targets, print_record, say_skipped
from wideresnet.cli.progress import run_with_bar

data = typer.Typer(name="data", cls=Group, help="Prepare and check labelled data for evaluation.", no_args_is_help=True)

Sources = Annotated[
    list[Path],
    typer.Argument(
        help="Images (ILSVRC2012_img_val.tar, a flat folder, class folders) and labels (the devkit's archive or"
        " folder, val.txt, LOC_val_solution.csv, path,label as CSV).",
    ),
]
Extract = Annotated[
    Path | None, typer.Option("--extract", help="Extract archives of images here; an interrupted run continues.")
]
Folders = Annotated[
    Path | None, typer.Option("--folders", help="Also create class folders of hard links here; nothing is overwritten.")
]


@data.command(cls=Command)
def imagenet(
    sources: Sources,
    output: Annotated[Path, typer.Option("--output", "-o", help="The index to write: path,index,wnid as CSV.")],
    extract: Extract = None,
    folders: Folders = None,
    format: Format = "table",
) -> None:
    """Check ILSVRC2012's validation set and write an index for 'wrn evaluate'.

    Images are not moved. All sources of labels must agree. Exit code 1: some images were left out.

    Example: wrn data imagenet ILSVRC2012_img_val.tar ILSVRC2012_devkit_t12.tar.gz --extract val/ -o val.csv

    Example: wrn data imagenet val/ val.txt -o val.csv --folders val-by-class/
    """
    from wideresnet.datasets.imagenet_index import prepare_imagenet
    from wideresnet.output.atomic import check_folder
    from wideresnet.report import prepared as report

    check_targets(output)
    for folder in filter(None, (extract, folders)):
        check_folder(folder)                       # without a lock: images there are never replaced by others
    done = run_with_bar(prepare_imagenet(sources, output, extract=extract, folders=folders), "preparing", "images")
    print_record(done, report.to_json, report.to_text, format)
    say_skipped(done.skipped, *sources)
    raise typer.Exit(1 if done.left_out else 0)
