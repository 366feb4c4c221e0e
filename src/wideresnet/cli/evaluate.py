"""``wrn evaluate``"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.cluster import SHARD, Cluster, Cpus, Ray, ShardSize, WorkerCount, check_options, located, spread
from wideresnet.cli.options import (
    Alpha,
    ArchitectureName,
    Arithmetic,
    BatchSize,
    Engine,
    EngineName,
    Format,
    InferMode,
    InferModeName,
    LabelsFile,
    Lang,
    Language,
    Models,
    Precision,
    Resolution,
    TextOrJson,
    Threads,
    Transform,
    Weights,
)
from wideresnet.cli.output import (
    check_targets,
    list_failures,
    list_notes,
    locate,
    open_bundle,
    open_data,
    print_json,
    run_with_bar,
    say_skipped,
)
from wideresnet.cli.published import Limit, Published, Tolerance, check_idle, verify
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError, needs_extra

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.datasets.labelled import LabelledData
    from wideresnet.engines import EngineOptions
    from wideresnet.records import EvalReport, Exif, Item, Labels
    from wideresnet.tasks.classify.pipeline import InferMode as Mode
    from wideresnet.tasks.evaluate.evaluate import AnswerSource
    from wideresnet.tasks.load.load import ModelChoice

RUNNING = (                                        # parameters that decide how a network runs
    "output", "resume", "transform", "alpha", "upright", "resolution", "engine", "precision", "threads", "batch_size",
    "infer_mode", "ray",
)  # fmt: skip

Data = Annotated[
    str | None,
    typer.Argument(help="Class folders, an index (.csv, .txt), shards (.parquet, .tar), CIFAR or its name, SVHN."),
]
Page = Annotated[Path | None, typer.Option("--report", help="Write a page with plots and images (HTML).")]
Scores = Annotated[
    str | None, typer.Option("--output", "-o", help="Write every image's score here: .csv, .jsonl or .parquet.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="With -o: go on where an interrupted run of the same command ended.")
]
Shard = Annotated[str, typer.Option(help="i/n: every n-th image from the i-th on; 'wrn merge' adds n reports up.")]
Truth = Annotated[
    Path | None, typer.Option("--truth", help="For a folder of images: the file that says the class of each.")
]
Results = Annotated[
    Path | None, typer.Option("--results", help="Score this result.txt of the model zoo, and run nothing.")
]
Outputs = Annotated[
    Path | None, typer.Option("--outputs", help="Score the arrays output_0 of a folder of .npz, and run nothing.")
]
Upright = Annotated[
    bool, typer.Option("--upright", help="Turn photographs upright by EXIF, as 'wrn classify' and 'wrn finetune' do.")
]
AnyOrder = Annotated[
    bool, typer.Option("--any-order", help="Report even where the labels seem to be in another order than the classes.")
]


def evaluate(
    context: typer.Context,
    data: Data = None,
    model: Models = None,
    weights: Weights = None,
    architecture: ArchitectureName = None,
    labels: LabelsFile = None,
    truth: Truth = None,
    results: Results = None,
    outputs: Outputs = None,
    resolution: Resolution = 0,
    transform: Transform = None,
    alpha: Alpha = None,
    upright: Upright = False,
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: BatchSize = 0,
    infer_mode: InferMode = InferModeName.asynchronous,
    shard: Shard = "",
    output: Scores = None,
    resume: Resume = False,
    any_order: AnyOrder = False,
    published: Published = False,
    limit: Limit = 0,
    tolerance: Tolerance = 0.1,
    ray: Ray = "",
    workers: WorkerCount = 0,
    cpus: Cpus = 0,
    shard_size: ShardSize = SHARD,
    page: Page = None,
    lang: Lang = Language.en,
    format: Format = TextOrJson.table,
) -> None:
    """Top-1 and top-5 accuracy on labelled images, by exact counting.

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
    from wideresnet.engines import EngineOptions
    from wideresnet.tasks.evaluate.published import VerifySettings
    from wideresnet.tasks.load.load import ModelChoice

    check_parquet_extra([Path(data)] if data and not ray else [])
    names = tuple(model or ())
    check_idle(context, published)
    if published:
        images = locate(Path(data)) if data else None
        settings = VerifySettings(
            images, names, weights, limit, tolerance / 100, engine.value, precision.value, threads
        )
        raise typer.Exit(0 if verify(settings, format) else 1)
    if len(names) > 1:
        raise ConfigError("one model is evaluated at a time", hint="add --published to compare several with theirs")
    choice = ModelChoice(names[0] if names else None, weights, architecture, labels)
    file = None if output is None or ray else Path(output)
    check_targets(page)
    exif: Exif = "transpose" if upright else "ignore"
    how = _How(engine, EngineOptions(precision.value, threads), batch_size, infer_mode.value, exif)
    refuse_idle(context, bool(results), "beside --results", "outputs")
    refuse_idle(context, bool(results) and not data, "without DATA", "truth", "shard")
    refuse_idle(context, page is None, "without --report", "lang")
    refuse_idle(context, bool(results or outputs), "on answers of others: such are for a network that runs", *RUNNING)
    check_options(context, ray)
    if results or outputs:
        source = _of_others(choice, data, truth, results, outputs, shard)
    elif ray:
        bundle = open_bundle(choice, resolution, transform, alpha)
        cluster = Cluster(ray, workers, cpus, shard_size, output)
        source = _of_cluster(bundle, _named(data), truth, how, cluster)
    else:
        if file and not (resume and file.exists()):
            _check_scores(file)
        bundle = open_bundle(choice, resolution, transform, alpha)
        source = _of_network(bundle, _opened(data, bundle.labels, truth, shard), how, file, resume)
    report = _counted(source.answers, any_order)
    show(report, format, page, translated(source.answers.labels, lang.value, source.known), source.items)
    raise typer.Exit(1 if report.failures else 0)


def show(
    report: EvalReport, format: TextOrJson, page: Path | None, labels: Labels, sources: Mapping[str, Item]
) -> None:
    """Print a report, write its page, list its failures. ``sources``: the images by path, where they are known."""
    from wideresnet.report import evaluation

    if page:
        from wideresnet.output.atomic import save_text
        from wideresnet.report.html.evaluation import shown_paths
        from wideresnet.tasks.classify.thumbnails import thumbnails

        drawn = thumbnails(report, sources)
        save_text(page, evaluation.to_html(report, labels, drawn))
        if absent := set(shown_paths(report)) - set(drawn):
            say(f"{page} lacks {len(absent)} images, which cannot be read from here", err=True)
    if format is TextOrJson.json:
        print_json(evaluation.to_json(report))
    else:
        print_lines(evaluation.to_text(report))
    list_notes(report.warnings, "warning")
    list_failures(report.failures)
    say_skipped([report.skipped], report.data)


@dataclass(frozen=True)
class _Source:
    """Answers, the name of the list of their labels, and the images by path."""

    answers: AnswerSource
    known: str
    items: Mapping[str, Item]


@dataclass(frozen=True)
class _How:
    """How a network is run; 0 images a batch: as tuned."""

    engine: str
    options: EngineOptions
    batch_size: int
    mode: Mode
    exif: Exif


def _of_network(bundle: Bundle, data: LabelledData, how: _How, output: Path | None, resume: bool) -> _Source:
    from wideresnet.engines.throughput import throughput_options
    from wideresnet.tasks.evaluate.evaluate import AnswerSource, blank_report, masked_classes, score
    from wideresnet.tasks.evaluate.resumable import score_into
    from wideresnet.tasks.load.load import open_classifier

    data = replace(data, exif=how.exif)
    options, batch = throughput_options(bundle, how.options.precision, how.options.threads)
    classifier, batch = open_classifier(bundle, how.engine, options), how.batch_size or batch
    if output:
        answers = score_into(output, classifier, data, batch, mode=how.mode, resume=resume)
    elif resume:
        raise ConfigError("--resume needs the file that was being written", hint="name it with -o")
    else:
        answers = score(classifier, data, batch, mode=how.mode)
    blank, items = blank_report(classifier, data), {item.path: item for item in data.items}
    source = AnswerSource(answers, blank, bundle.labels, len(items), masked_classes(data), output)
    return _Source(source, bundle.card.labels_name, items)


def _of_cluster(bundle: Bundle, data: str, truth: Path | None, how: _How, cluster: Cluster) -> _Source:
    """The answers of a cluster, once all are there."""
    from wideresnet.engines.throughput import throughput_options
    from wideresnet.tasks.evaluate.evaluate import AnswerSource, empty_report, masked_classes

    with needs_extra("working on a cluster", "ray"):
        from wideresnet.cluster.bulk import read_rows
        from wideresnet.cluster.listing import list_labelled
        from wideresnet.cluster.operations import Evaluate
    from wideresnet.output.scores import score_of

    _, batch = throughput_options(bundle, how.options.precision, how.options.threads)
    batch = how.batch_size or batch
    images, listing = list_labelled(located(data), bundle.labels, truth, cluster.size(batch))
    images = replace(images, exif=how.exif)
    work = Evaluate(how.engine, how.options.precision, batch, images.name, images.present, images.exif)
    report = spread(work, bundle, listing, cluster)
    ran = [f"{each.runtime} {each.version}, {each.precision}, {each.threads} threads" for each in report.engines]
    if len(ran) > 1:
        say(f"the nodes ran several engines, and the report names the first: {'; '.join(ran)}", err=True)
    machine = {"shards_of_host": report.shards_of_host, "engines": ran}
    blank = empty_report(bundle.card, bundle.labels, report.engines[0], images, machine)
    answers, items = map(score_of, read_rows(report.output, listing)), {item.path: item for item in images.items}
    source = AnswerSource(answers, blank, bundle.labels, len(items), masked_classes(images))
    return _Source(source, bundle.card.labels_name, items)


def _of_others(
    choice: ModelChoice, data: str | None, truth: Path | None, results: Path | None, outputs: Path | None, shard: str
) -> _Source:
    """Answers that were made elsewhere: ``results`` or ``outputs``."""
    from wideresnet.records import EvalReport
    from wideresnet.tasks.evaluate.evaluate import AnswerSource, masked_classes
    from wideresnet.tasks.load.describe import labels_of
    from wideresnet.tasks.zoo.outputs import score_outputs, score_results
    from wideresnet.tasks.zoo.results import read_results

    labels, known, assumed = labels_of(choice)
    list_notes(assumed)
    images = _opened(data, labels, truth, shard) if data or outputs else None
    name = images.name if images else str(results)
    notes = images.notes if images else ()
    blank, answers = EvalReport(f"answers in {results or outputs}", name, None, 0, 0, 0, notes=notes), None
    if results:
        read = read_results(results)
        if read.doubled:
            say(f"{read.doubled} lines of {results} stand there twice and count once", err=True)
        blank = replace(blank, known=min(5, read.known, len(labels.names)))
        answers = score_results(read, labels, images)
    elif outputs and images:
        answers = score_outputs(outputs, images)
    blank = replace(blank, skipped=images.skipped) if images else blank
    items = {item.path: item for item in images.items} if images else {}
    count = len(items) if images else len(read.answers)
    present = masked_classes(images) if images else 0
    return _Source(AnswerSource(answers or (), blank, labels, count, present), known, items)


def _opened(data: str | None, labels: Labels, truth: Path | None, shard: str) -> LabelledData:
    images = open_data(Path(_named(data)), labels, truth)
    return images.take_part(shard) if shard else images


def _named(data: str | None) -> str:
    if data is None:
        raise ConfigError("no labelled images are named", hint="such as a folder with one folder a class")
    return data


def _counted(source: AnswerSource, any_order: bool) -> EvalReport:
    """The report, with a bar while it is made. An order of labels that cannot be right ends it early."""
    from wideresnet.tasks.evaluate.evaluate import count

    with _saying_how_to_go_on(source.file):
        return run_with_bar(count(source, check_order=not any_order), "evaluating", "images")


def _check_scores(file: Path) -> None:
    """What can be said of the file before a network is opened."""
    from wideresnet.output.resumable_writer import check_target
    from wideresnet.output.scores import format_of

    format_of(file)
    check_target(file)


@contextmanager
def _saying_how_to_go_on(output: Path | None) -> Iterator[None]:
    """One line on stderr when Ctrl-C ends a run that can go on."""
    try:
        yield
    except KeyboardInterrupt:
        if output:
            say(f"stopped; the scores so far are kept beside {output}: --resume goes on", err=True)
        raise
