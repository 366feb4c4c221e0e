"""``wrn evaluate``"""

from __future__ import annotations

from pathlib import Path

import typer

from wideresnet.cli.cluster import evaluate_on_cluster
from wideresnet.cli.evaluate_options import ApplyExif, DataOptions, OutputOptions, SkipOrderCheck, check_options
from wideresnet.cli.evaluation import count_with_bar, show_report
from wideresnet.cli.groups import ClusterOptions, ModelOptions, RuntimeOptions, with_groups
from wideresnet.cli.options import BatchSize, ClassNames, Coverage, InferMode, Lang, Models, Transform
from wideresnet.cli.output import check_targets, locate
from wideresnet.cli.published import PublishedOptions, check_idle, verify
from wideresnet.errors import ConfigError


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
    coverage: Coverage = None,
    lang: Lang = "en",
) -> None:
    """Measure top-1 and top-5 accuracy on labelled images, by exact counting.

    Images that cannot be read are listed on stderr and counted apart; the exit code is then 1. With --ray a cluster
    does the work: DATA may also be a URI of class folders, or of a shard; -o is a folder or a URI.

    With --published, measured accuracy is shown beside published accuracy; nothing is downloaded, and --weights is a
    folder with the publishers' files. Exit code 1: a model differs, an image cannot be read, or there is no model.

    Example: wrn evaluate imagenet.csv -m wide_resnet50_2.tv_in1k -o scores.parquet --resume --report tv.html

    Example: wrn evaluate imagenet.csv -m wide_resnet50_2.tv_in1k --shard 1/4 --format json > part1.json

    Example: wrn evaluate pets/test -m calibrated/ --coverage 95

    Example: wrn evaluate --results result.txt -m wide_resnet50_2.tv_in1k

    Example: wrn evaluate imagenet.csv --published --limit 5000
    """
    from wideresnet.datasets.labels import translated
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.prediction_sets import check_coverage
    from wideresnet.tasks.evaluate.model import source_of_model

    ray, names = cluster.ray, tuple(model or ())
    check_parquet_extra([Path(source.data)] if source.data and not ray else [])
    check_idle(context, published.published)
    if published.published:
        from wideresnet.tasks.evaluate.published import VerifySettings

        images, tolerance = locate(Path(source.data)) if source.data else None, published.tolerance / 100
        inference = runtime.settings(0, "ignore")
        settings = VerifySettings(images, names, options.weights, published.limit, tolerance, inference)
        raise typer.Exit(0 if verify(settings, target.format) else 1)
    if len(names) > 1:
        raise ConfigError("one model is evaluated at a time", hint="add --published to compare several with theirs")
    name = names[0] if names else None
    check_targets(target.page)
    check_options(context, source, target, cluster)
    inference = runtime.settings(batch_size, "transpose" if apply_exif else "ignore", infer_mode, coverage)
    if source.results or source.outputs:
        answers = source.answers(options.choice(name, labels))
    else:
        file = None if ray else target.scores_file()
        bundle = options.open(name, labels, transform)
        check_coverage(bundle.card, inference.coverage, name or "")
        if ray:
            answers = evaluate_on_cluster(bundle, source.name, source.labels_file, inference, cluster, target.output)
        else:
            answers = source_of_model(bundle, source.open(bundle.labels), inference, file, resume=target.resume)
    report = count_with_bar(answers, check_order=not skip_order_check)
    shown = translated(answers.labels, lang, answers.labels_name)
    show_report(report, target.format, target.page, shown, answers.items)
    raise typer.Exit(1 if report.failures else 0)
