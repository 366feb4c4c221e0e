"""``wrn evaluate``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.cluster import check_cluster_options, evaluate_on_cluster
from wideresnet.cli.evaluate_options import DataOptions, OutputOptions
from wideresnet.cli.evaluation import count_with_bar, show_report
from wideresnet.cli.groups import with_groups
from wideresnet.cli.options import (
    BatchSize,
    ClassNames,
    ClusterOptions,
    InferMode,
    Lang,
    ModelOptions,
    Models,
    RuntimeOptions,
    Transform,
)
from wideresnet.cli.output import check_targets, list_notes, locate, open_data
from wideresnet.cli.published import PublishedOptions, check_idle, verify
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.datasets.labelled import LabelledData
    from wideresnet.records import Labels
    from wideresnet.tasks.evaluate.evaluate import AnswerSource
    from wideresnet.tasks.load.load import ModelChoice

RUNNING = (                                        # parameters that decide how a network runs
    "output", "resume", "transform", "alpha", "apply_exif", "resolution", "engine", "precision", "threads",
    "batch_size", "infer_mode", "ray",
)  # fmt: skip
ApplyExif = Annotated[
    bool, typer.Option("--apply-exif", help="Apply the EXIF orientation, as 'wrn classify' and 'wrn finetune' do.")
]
SkipOrderCheck = Annotated[
    bool,
    typer.Option("--skip-order-check", help="Report even if the labels seem to be in another order than the classes."),
]


@with_groups
def evaluate(
    context: typer.Context,
    source: DataOptions,
    options: ModelOptions,
    runtime: RuntimeOptions,
    target: OutputOptions,
    published: PublishedOptions,
    cluster: ClusterOptions,
    model: Models = None,
    labels: ClassNames = None,
    transform: Transform = None,
    apply_exif: ApplyExif = False,
    batch_size: BatchSize = 0,
    infer_mode: InferMode = "async",
    skip_order_check: SkipOrderCheck = False,
    lang: Lang = "en",
) -> None:
    """Measure top-1 and top-5 accuracy on labelled images, by exact counting.

    Images that cannot be read are listed on stderr and counted apart; the exit code is then 1. With --ray a cluster
    does the work: DATA may also be a URI of class folders, or of a shard; -o is a folder or a URI.

    With --published, measured accuracy is shown beside published accuracy; nothing is downloaded, and --weights is a
    folder with the publishers' files. Exit code 1: a model differs, an image cannot be read, or no model is here.

    Example: wrn evaluate imagenet.csv -m wide_resnet50_2.tv_in1k -o scores.parquet --resume --report tv.html

    Example: wrn evaluate imagenet.csv -m wide_resnet50_2.tv_in1k --shard 1/4 --format json > part1.json

    Example: wrn evaluate --results result.txt -m wide_resnet50_2.tv_in1k

    Example: wrn evaluate imagenet.csv --published --limit 5000
    """
    from wideresnet.datasets.labels import translated
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.tasks.evaluate.published import VerifySettings
    from wideresnet.tasks.evaluate.resumable import check_scores, source_of_model

    ray, names = cluster.ray, tuple(model or ())
    check_parquet_extra([Path(source.data)] if source.data and not ray else [])
    check_idle(context, published.published)
    if published.published:
        data = locate(Path(source.data)) if source.data else None
        settings = VerifySettings(
            data, names, options.weights, published.limit, published.tolerance / 100, runtime.engine,
            runtime.precision, runtime.threads,
        )  # fmt: skip
        raise typer.Exit(0 if verify(settings, target.format) else 1)
    if len(names) > 1:
        raise ConfigError("one model is evaluated at a time", hint="add --published to compare several with theirs")
    name = names[0] if names else None
    check_targets(target.page)
    _check_options(context, source, target, cluster)
    inference = runtime.settings(batch_size, "transpose" if apply_exif else "ignore", infer_mode)
    if source.results or source.outputs:
        answers = _answers_of_others(source, options.choice(name, labels))
    elif ray:
        bundle = options.open(name, labels, transform)
        _, inference = tune_settings(bundle, inference)
        answers = evaluate_on_cluster(
            bundle, _named(source.data), source.labels_file, inference, cluster, target.output
        )
    else:
        file = Path(target.output) if target.output else None
        if file and not (target.resume and file.exists()):
            check_scores(file)
        bundle = options.open(name, labels, transform)
        answers = source_of_model(bundle, _open(source, bundle.labels), inference, file, resume=target.resume)
    report = count_with_bar(answers, check_order=not skip_order_check)
    shown = translated(answers.labels, lang, answers.labels_name)
    show_report(report, target.format, target.page, shown, answers.items)
    raise typer.Exit(1 if report.failures else 0)


def _check_options(
    context: typer.Context, source: DataOptions, target: OutputOptions, cluster: ClusterOptions
) -> None:
    results, answered = bool(source.results), bool(source.results or source.outputs)
    check_unused(context, results, "beside --results", "outputs")
    check_unused(context, results and not source.data, "without DATA", "labels_file", "shard")
    check_unused(context, target.page is None, "without --report", "lang")
    check_unused(context, answered, "with --results or --outputs: no model is run", *RUNNING)
    check_cluster_options(context, cluster)


def _answers_of_others(source: DataOptions, choice: ModelChoice) -> AnswerSource:
    """Return the answers of --results or --outputs."""
    from wideresnet.tasks.load.describe import labels_of
    from wideresnet.tasks.zoo.sources import source_of_outputs, source_of_results

    labels, name, assumed = labels_of(choice)
    list_notes(assumed)
    if source.results is None:
        assert source.outputs is not None
        return source_of_outputs(source.outputs, labels, name, _open(source, labels))
    data = _open(source, labels) if source.data else None
    answers, doubled = source_of_results(source.results, labels, name, data)
    if doubled:
        say(f"{doubled} lines of {source.results} are repeated and count once", err=True)
    return answers


def _open(source: DataOptions, labels: Labels) -> LabelledData:
    data = open_data(Path(_named(source.data)), labels, source.labels_file)
    return data.take_part(source.shard) if source.shard else data


def _named(data: str | None) -> str:
    if data is None:
        raise ConfigError("no labelled images: DATA is missing", hint="name a folder with one sub-folder per class")
    return data
