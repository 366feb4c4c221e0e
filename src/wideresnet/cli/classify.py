"""``wrn classify``"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from wideresnet.cli.answers import write_file, write_stdout
from wideresnet.cli.checks import check_unused
from wideresnet.cli.cluster import check_cluster_options, run_on_images
from wideresnet.cli.groups import ClusterOptions, ModelOptions, RuntimeOptions, with_groups
from wideresnet.cli.options import (
    BatchSize,
    ClassNames,
    Dedupe,
    FastDecode,
    IgnoreExif,
    InferMode,
    Lang,
    Model,
    Resume,
    Transform,
)  # fmt: skip
from wideresnet.cli.output import say_skipped
from wideresnet.cli.streams import check_output, say

AnswerFormat = Literal["table", "json", "jsonl", "csv", "zoo", "parquet"]
Sources = Annotated[
    list[str], typer.Argument(help="Images, folders (searched recursively), .parquet, .tar, or - for stdin.")
]


@with_groups
def classify(
    context: typer.Context,
    paths: Sources,
    options: ModelOptions,
    runtime: RuntimeOptions,
    cluster: ClusterOptions,
    model: Model = None,
    k: Annotated[int, typer.Option("-k", "--top-k", min=1, help="Classes per image.")] = 5,
    format: Annotated[AnswerFormat, typer.Option("--format", help="The format of the answers.")] = "table",
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write to this file instead of stdout.")] = None,
    labels: ClassNames = None,
    lang: Lang = "en",
    transform: Transform = None,
    batch_size: BatchSize = 0,
    ignore_exif: IgnoreExif = False,
    fast_decode: FastDecode = False,
    infer_mode: InferMode = "async",
    dedupe: Dedupe = False,
    resume: Resume = False,
) -> None:
    """Classify images. Unreadable images are listed on stderr, and the exit code is 1.

    With -o the answers are collected in FILE.part, which becomes FILE when all are written; an interrupted run, even
    if killed, keeps its answers, and --resume continues it.

    With --ray a cluster does the work: images, folders, lists of files (.txt) and Parquet files of bytes, also by
    URI (s3://…); -o is a folder of Parquet files or a URI. The same command continues an interrupted run.

    Example: wrn classify examples/

    Example: wrn classify examples/ --lang zh

    Example: wrn classify photos/ -m wide_resnet50_2.tv_in1k --format csv -o answers.csv --resume

    Example: wrn classify s3://bucket/photos -m wide_resnet50_2.tv_in1k --ray auto -o s3://bucket/answers
    """
    from wideresnet.datasets.labels import translated
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.tasks.classify.classify import classify as predictions
    from wideresnet.tasks.classify.dedupe import answer_once, remembered_for
    from wideresnet.tasks.classify.resumable import run_identity
    from wideresnet.tasks.classify.sources import InputImages, containers
    from wideresnet.tasks.load.load import open_classifier

    files, file = [Path(path) for path in paths], None if output is None else Path(output)
    check_cluster_options(context, cluster)
    if not cluster.ray:
        _check_local_run(files, file, format, resume)
    bundle = options.open(model, labels, transform)
    bundle = replace(bundle, labels=translated(bundle.labels, lang, bundle.card.labels_name))
    squares = bundle.card.preprocess.interpolation == "opencv-bilinear"    # whose crops a reduced image changes
    check_unused(context, squares, "on a transform by OpenCV's bilinear resize", "fast_decode")
    settings = runtime.settings(batch_size, "ignore" if ignore_exif else "transpose", infer_mode)
    settings = replace(settings, reduced=fast_decode)
    engine, settings = tune_settings(bundle, settings, many=bool(cluster.ray or len(files) > 1 or containers(files)))
    if cluster.ray:
        from wideresnet.cluster.operations import Classify

        run_on_images(Classify(settings, k), bundle, paths, cluster, output, format)
    classifier = open_classifier(bundle, settings.engine, engine)
    answer = partial(predictions, classifier, settings=settings, k=k)
    if dedupe:
        answer = partial(answer_once, answer, remembered=remembered_for(k))
    items = InputImages(files, stdin=True)
    if file:
        failed = write_file(answer, items, file, format, run_identity(classifier, settings, k, files), resume)
    else:
        failed = write_stdout(answer(items), format)
    say_skipped([items.skipped], *containers(files))
    raise typer.Exit(1 if failed else 0)


def _check_local_run(files: list[Path], file: Path | None, format: AnswerFormat, resume: bool) -> None:
    """Raise for wrong arguments before any work; exit at once if there is nothing left to resume."""
    from wideresnet.tasks.classify.resumable import check_run

    if (failed := check_run(files, file, format, resume=resume)) is not None:
        say(f"{file} is complete: nothing is left to do, whatever model and images it was made from", err=True)
        raise typer.Exit(1 if failed else 0)
    if not file:
        check_output()
