"""``wrn classify``"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.options import (
    MODEL,
    ArchitectureName,
    Arithmetic,
    Engine,
    EngineName,
    LabelsFile,
    Model,
    Precision,
    Threads,
    Weights,
)
from wideresnet.cli.output import open_bundle, progress

if TYPE_CHECKING:
    from wideresnet.records import Exif, Failure, Item, Prediction

STDIN = Path("-")


class AnswerFormat(StrEnum):
    """How answers are written."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def classify(
    paths: Annotated[list[Path], typer.Argument(help="Pictures, folders (searched recursively), or - for stdin.")],
    model: Model = MODEL,
    k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Classes a picture.")] = 5,
    format: Annotated[AnswerFormat, typer.Option("--format", help="How to write answers.")] = AnswerFormat.table,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here, not to stdout.")] = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 16,
    ignore_exif: Annotated[bool, typer.Option("--ignore-exif", help="Do not turn photographs upright.")] = False,
) -> None:
    """Name what is in pictures. Unreadable ones are listed on stderr, and the exit code is 1.

    Example: wrn classify examples/

    Example: wrn classify photos/ -m wide_resnet50_2.tv_in1k --format csv -o answers.csv
    """
    from wideresnet.engines import EngineOptions
    from wideresnet.images.files import refuse_missing
    from wideresnet.report.answers import write_answers
    from wideresnet.tasks.classify import classify as answers_to
    from wideresnet.tasks.load import ModelChoice, open_classifier

    for path in paths:                             # before half a document stands on stdout
        if path != STDIN:
            refuse_missing(path)
    bundle = open_bundle(ModelChoice(model, weights, architecture, labels))
    classifier = open_classifier(bundle, engine, EngineOptions(precision.value, threads))
    exif: Exif = "ignore" if ignore_exif else "transpose"
    answers = answers_to(classifier, _items(paths), k=k, batch_size=batch_size, exif=exif)
    count = _Count()
    write_answers(count.watch(answers), format, sys.stdout, output)
    raise typer.Exit(1 if count.failed else 0)


def _items(paths: list[Path]) -> Iterator[Item]:
    from wideresnet.records import Item
    from wideresnet.tasks.classify import pictures

    for path in paths:
        if path == STDIN:
            yield Item("-", sys.stdin.buffer.read())
        else:
            yield from pictures([path])


class _Count:
    """Counts answers as they pass, shows progress, and lists failures on stderr."""

    failed = 0

    def watch(self, answers: Iterable[Prediction | Failure]) -> Iterator[Prediction | Failure]:
        """The same answers."""
        from wideresnet.records import Failure
        from wideresnet.report import text

        with progress("pictures") as bars:
            task = bars.add_task("classifying", total=None)
            for answer in answers:
                bars.advance(task)
                if isinstance(answer, Failure):
                    self.failed += 1
                    typer.echo(text.of_failure(answer), err=True)
                yield answer
