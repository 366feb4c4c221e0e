"""``wrn classify``"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from wideresnet.cli.answers import write_file, write_stdout
from wideresnet.cli.checks import notes_on_top_k
from wideresnet.cli.classify_options import AnswerOptions, ReadOptions
from wideresnet.cli.cluster import check_cluster_options, run_on_images
from wideresnet.cli.groups import ClusterOptions, ModelOptions, RuntimeOptions, with_groups
from wideresnet.cli.options import Model, Resume, Transform
from wideresnet.cli.output import list_notes, say_model, say_skipped
from wideresnet.cli.streams import check_output, say

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
    *,
    model: Model = None,
    answers: AnswerOptions,
    transform: Transform = None,
    reading: ReadOptions,
    resume: Resume = False,
) -> None:
    """Classify images. Unreadable images are listed on stderr, and the exit code is 1.

    With -o the answers are collected in FILE.part, which becomes FILE when all are written; an interrupted run, even
    if killed, keeps its answers, and --resume continues it.

    With --ray a cluster does the work: images, folders, lists of files (.txt) and Parquet files of bytes, also by
    URI (s3://…); -o is a folder of Parquet files or a URI. The same command continues an interrupted run.

    Example: wrn classify examples/

    Example: wrn classify examples/ --lang zh

    Example: wrn classify photos/ -m wide_resnet50_2.tv_in1k -o answers.csv --resume

    Example: wrn classify photos/ -o table.csv --rows image -k 3

    Example: wrn classify photos/ -m calibrated/ --coverage 95

    Example: wrn classify s3://bucket/photos -m wide_resnet50_2.tv_in1k --ray auto -o s3://bucket/answers
    """
    from wideresnet.engines.cascade import CascadeEngine
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.output.resumable_writer import open_resumable
    from wideresnet.prediction_sets import check_coverage, precision_notes
    from wideresnet.report.formats import passed_on_text
    from wideresnet.tasks.classify.classify import classify as predictions
    from wideresnet.tasks.classify.dedupe import answer_once, remembered_for
    from wideresnet.tasks.classify.resumable import run_identity
    from wideresnet.tasks.classify.sources import InputImages, containers
    from wideresnet.tasks.load.load import open_classifier

    files = [Path(path) for path in paths]
    check_cluster_options(context, cluster)
    format = answers.checked_format(context, bool(cluster.ray))
    if not cluster.ray:
        _check_local_run(files, answers, format, resume)
    bundle = answers.open(options, model, transform)
    reading.check(context, bundle.card.specs)
    many = bool(cluster.ray or len(files) > 1 or containers(files))
    engine, settings = tune_settings(bundle, reading.settings(runtime, answers.coverage), many=many)
    check_coverage(bundle.card, settings.coverage, model or "")
    list_notes(notes_on_top_k(context, bundle.card))
    if cluster.ray:
        from wideresnet.cluster.operations import Classify

        run_on_images(Classify(settings, answers.k, answers.row_of), bundle, paths, cluster, answers.output, format)
    items = InputImages(files, stdin=True)
    classifier = open_classifier(bundle, settings.engine, engine)
    say_model(bundle.card, classifier.engine.info)
    list_notes(precision_notes(bundle.card, classifier.engine.info))
    answer = partial(predictions, classifier, settings=settings, k=answers.k)
    if reading.dedupe:
        answer = partial(answer_once, answer, remembered=remembered_for(answers.k))
    layout = answers.layout(bundle.card, settings.coverage)
    if answers.file:
        run = run_identity(classifier, settings, answers.k, files).as_json()
        opened = open_resumable(answers.file, format, run, resume=resume, layout=layout)
        failed = write_file(answer, items, answers.file, opened)
    else:
        failed = write_stdout(answer(items), format, layout)
    if isinstance(classifier.engine, CascadeEngine):
        say(passed_on_text(classifier.engine.passed_on), err=True)
    say_skipped(items.skipped, *containers(files))
    raise typer.Exit(1 if failed else 0)


def _check_local_run(files: list[Path], answers: AnswerOptions, format: str, resume: bool) -> None:
    """Raise for wrong arguments before any work; exit at once if there is nothing left to resume."""
    from wideresnet.tasks.classify.resumable import check_run

    file = answers.file
    if (failed := check_run(files, file, format, resume=resume, layout=answers.layout())) is not None:
        say(f"{file} is complete: nothing is left to do, whatever model and images it was made from", err=True)
        if format in ("table", "zoo"):
            say(f"exit code 0: text does not tell whether an image of {file} failed, .csv and .jsonl do", err=True)
        raise typer.Exit(1 if failed else 0)
    if not file:
        check_output()
