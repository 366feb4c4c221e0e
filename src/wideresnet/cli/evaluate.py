"""``wrn evaluate``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.options import (
    MODEL,
    ArchitectureName,
    Arithmetic,
    Engine,
    EngineName,
    Format,
    LabelsFile,
    Model,
    Precision,
    Resolution,
    TextOrJson,
    Threads,
    Weights,
)
from wideresnet.cli.output import locate, open_bundle, print_json, progress


def evaluate(
    data: Annotated[Path, typer.Argument(help="Class folders, a CIFAR archive, or the word cifar10 or cifar100.")],
    model: Model = MODEL,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    resolution: Resolution = 0,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="Pictures at a time; 0: as tuned, or 8.")] = 0,
    format: Format = TextOrJson.table,
) -> None:
    """Top-1 and top-5 accuracy on labelled pictures, by exact counting.

    Example: wrn evaluate cifar10

    Example: wrn evaluate imagenet/val -m wide_resnet50_2.tv_in1k --format json
    """
    from wideresnet.data.open import open_labelled
    from wideresnet.report import document, text
    from wideresnet.tasks.evaluate import empty_report, evaluate_batches
    from wideresnet.tasks.load import ModelChoice, open_classifier
    from wideresnet.tasks.tuning import for_many

    bundle = open_bundle(ModelChoice(model, weights, architecture, labels), resolution)
    pictures = open_labelled(locate(data), bundle.labels)
    options, batch = for_many(bundle, precision.value, threads)
    classifier = open_classifier(bundle, engine, options)
    report = empty_report(classifier, pictures)
    with progress("pictures") as bars:
        task = bars.add_task("evaluating", total=len(pictures.items))
        for part in evaluate_batches(classifier, pictures, batch_size or batch):
            report += part
            bars.advance(task, part.n + len(part.failures))
    if format is TextOrJson.json:
        print_json(document.of_evaluation(report))
    else:
        typer.echo(text.of_evaluation(report))
    for failure in report.failures:
        typer.echo(text.of_failure(failure), err=True)
    raise typer.Exit(1 if report.failures else 0)
