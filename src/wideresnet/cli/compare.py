"""``wrn compare``"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.options import (
    EngineName,
    Format,
    Precision,
    Threads,
)
from wideresnet.cli.output import (
    check_targets,
    list_failures,
    list_notes,
    open_bundle,
    open_data,
    print_json,
    progress_bars,
    say_skipped,
)
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.records import ComparisonReport, InferenceSettings, Item, Labels, Preprocess

SUFFIXES = (".csv", ".jsonl", ".parquet")
SIDE = "A file of 'wrn evaluate -o' (.csv, .jsonl, .parquet), or a model."


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help=SIDE)],
    b: Annotated[str, typer.Argument(help="The second one: a file too, or a model too.")],
    data: Annotated[
        Path | None, typer.Option(help="For models: the labelled images. For files: the images of the page.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="For files: the class names, as a file with one name per line, or imagenet, cifar10, …")
    ] = "",
    engine: EngineName = "openvino",
    precision: Precision = "f32",
    threads: Threads = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="Images a batch; 0: as tuned for A, or 8.")] = 0,
    max_drop: Annotated[
        float | None, typer.Option(help="Exit code 1 if B's top-1 is more than this many percentage points below A's.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="Write a page (HTML) with the images that only one got right.")
    ] = None,
    format: Format = "table",
) -> None:
    """Compare two models on the same labelled images, paired by path.

    Prints both accuracies, their difference with its confidence interval and McNemar's exact test, the classes that
    changed most and the images that only one got right. The exit code is 0 for any difference unless --max-drop is
    given, and 1 if images cannot be read, which are listed on stderr.

    Example: wrn compare f32.parquet int8.parquet --labels imagenet --report flips.html

    Example: wrn compare wrn_16_4.cifar10 wrn-int8/ --data cifar10 --max-drop 0.2
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.records import InferenceSettings
    from wideresnet.report import comparison
    from wideresnet.tasks.classify.thumbnails import thumbnails_of

    check_targets(page)
    if _is_scores(a) != _is_scores(b):
        message = f"cannot compare a file of scores with a model: {a} and {b}"
        raise ConfigError(message, hint="name two files of scores, or two models")
    check_unused(context, _is_scores(a), "on files of scores", "engine", "precision", "threads", "batch_size")
    check_unused(context, _is_scores(a) and bool(labels) and not page, "on files of scores without --report", "data")
    if _is_scores(a):
        result = _files(Path(a), Path(b), data, labels)
    elif labels:
        raise ConfigError("models know their labels", hint="--labels is for files of scores")
    else:
        result = _models((a, b), data, InferenceSettings(engine, precision, threads, batch_size))
    if page:
        images = thumbnails_of(comparison.shown_paths(result.report), result.items, result.spec)
        save_text(page, comparison.to_html(result.report, result.labels, images))
    if format == "json":
        print_json(comparison.to_json(result.report))
    else:
        print_lines(comparison.to_text(result.report, result.labels))
    list_notes(result.report.warnings, "warning")
    failures = [*result.report.a.failures, *result.report.b.failures]
    list_failures(failures)
    say_skipped([result.report.a.skipped], result.report.a.data)
    raise typer.Exit(1 if _drops(result.report, max_drop) or failures else 0)


@dataclass(frozen=True)
class _Comparison:
    """A comparison with what its page needs: class names, images by path, and their preprocessing."""

    report: ComparisonReport
    labels: Labels
    items: Mapping[str, Item]
    spec: Preprocess | None


def _is_scores(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _files(a: Path, b: Path, data: Path | None, labels: str) -> _Comparison:
    from wideresnet.output.scores import read_scores
    from wideresnet.records import EvalReport
    from wideresnet.tasks.evaluate.comparison import compare_answers

    if data is not None and not labels:
        raise ConfigError("--data needs the classes of the files", hint="give --labels, such as cifar10 or a file")
    names = _labels(labels)
    blanks = (EvalReport(str(a), "", None, 0, 0, 0), EvalReport(str(b), "", None, 0, 0, 0))
    report = compare_answers(read_scores(a), read_scores(b), blanks, names)
    items = open_data(data, names).items if data else ()
    return _Comparison(report, names, {item.path: item for item in items}, None)


def _labels(name: str) -> Labels:
    from wideresnet.datasets.labels import read_labels
    from wideresnet.datasets.labels.formats import read_label_file
    from wideresnet.records import Labels

    if not Path(name).is_file():
        return read_labels(name) if name else Labels(())
    file = read_label_file(Path(name))
    list_notes(file.notes)
    return file.labels


def _models(
    names: tuple[str, str], data: Path | None, settings: InferenceSettings
) -> _Comparison:
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.tasks.evaluate.comparison import compare_answers, score_both
    from wideresnet.tasks.evaluate.evaluate import blank_report
    from wideresnet.tasks.load.load import ModelChoice, open_classifier

    if data is None:
        raise ConfigError("two models are compared on labelled images", hint="name them with --data")
    check_parquet_extra([data])
    bundles = [open_bundle(ModelChoice(name)) for name in names]
    images = open_data(data, bundles[0].labels)
    options, settings = tune_settings(bundles[0], settings)
    a, b = (open_classifier(bundle, settings.engine, options) for bundle in bundles)
    scored = []
    with progress_bars("images") as bars:
        task = bars.add_task("comparing", total=len(images.items))
        for pair in score_both(a, b, images, settings.batch_size):
            scored.append(pair)
            bars.advance(task)
    blanks = blank_report(a, images), blank_report(b, images)
    if a.card.name == b.card.name:                 # the folders tell them apart
        blanks = replace(blanks[0], model=names[0]), replace(blanks[1], model=names[1])
    report = compare_answers([first for first, _ in scored], [second for _, second in scored], blanks, a.labels)
    return _Comparison(report, a.labels, {item.path: item for item in images.items}, a.card.preprocess)


def _drops(report: ComparisonReport, most: float | None) -> bool:
    """Return whether B lost more than ``most`` points, and report it on stderr."""
    # The small term is for rounding: 0.7 points of 1,000 are 7 images.
    if most is None or report.only_a_correct - report.only_b_correct <= most / 100 * report.n + 1e-6:
        return False
    say(f"B is more than {most:g} points of top-1 below A", err=True)
    return True
