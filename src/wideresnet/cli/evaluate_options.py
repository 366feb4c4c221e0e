"""Groups of options of ``wrn evaluate``: its data, and its output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.options import Format, Page


@dataclass(frozen=True)
class DataOptions:
    """The labelled images, and answers of other programs to them."""

    data: Annotated[
        str | None,
        typer.Argument(help="Class folders, an index (.csv, .txt), shards (.parquet, .tar), CIFAR or its name, SVHN."),
    ] = None
    labels_file: Annotated[
        Path | None, typer.Option("--labels-file", help="The file with the class of each image, for a flat folder.")
    ] = None
    results: Annotated[
        Path | None, typer.Option("--results", help="Score this result.txt of the model zoo; no model is run.")
    ] = None
    outputs: Annotated[
        Path | None, typer.Option("--outputs", help="Score the arrays output_0 of a folder of .npz; no model is run.")
    ] = None
    shard: Annotated[
        str, typer.Option("--shard", help="i/n: every n-th image from the i-th on; 'wrn merge' adds n reports up.")
    ] = ""


@dataclass(frozen=True)
class OutputOptions:
    """The output of an evaluation."""

    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write the score of every image (.csv, .jsonl, .parquet).")
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="With -o: continue an interrupted run of the same command.")
    ] = False
    page: Page = None
    format: Format = "table"
