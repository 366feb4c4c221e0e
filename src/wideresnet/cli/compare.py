"""``wrn compare``"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wideresnet.cli.checks import check_engine, check_unused
from wideresnet.cli.complete import model_names
from wideresnet.cli.groups import FACT_NAMES, FileOptions, with_groups
from wideresnet.cli.options import EngineName, Format, InferenceDevice, Precision, Threads
from wideresnet.cli.output import check_targets, list_notes, list_problems, open_bundle, open_data, print_record
from wideresnet.cli.progress import run_with_bar
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from wideresnet.records import FileFacts, InferenceSettings
    from wideresnet.tasks.evaluate.comparison import Comparison

SUFFIXES = (".csv", ".jsonl", ".parquet")
SIDE = "A file of 'wrn evaluate -o' (.csv, .jsonl, .parquet), or a model."


@with_groups
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help=SIDE, autocompletion=model_names)],
    b: Annotated[str, typer.Argument(help="The second file or model.", autocompletion=model_names)],
    data: Annotated[
        Path | None, typer.Option(help="For models: the labelled images. For files: the images to show on the page.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="For files without class names: a file with one name per line, or imagenet, cifar10, …")
    ] = "",
    engine: EngineName = "openvino",
    precision: Precision = "f32",
    threads: Threads = 0,
    device: InferenceDevice = "cpu",
    batch_size: Annotated[int, typer.Option(min=0, help="Images per batch; 0: as tuned for A, else 8.")] = 0,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=100,
            help="Percentage points of top-1 that B may lose; exit code 1 unless the images rule out more.",
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--report", help="Write a page (HTML) with the images that only one got right.")
    ] = None,
    format: Format = "table",
    *,
    files: FileOptions,
) -> None:
    """Compare two models on the same labelled images, paired by path.

    Prints both accuracies, their difference with its confidence interval and McNemar's exact test, the classes that
    changed most and the images that only one got right. The exit code is 0 for any difference unless --max-drop is
    given, and 1 if images cannot be read, which are listed on stderr.

    Example: wrn compare f32.parquet int8.parquet --report flips.html

    Example: wrn compare wrn_16_4.cifar10 wrn-int8/ --data cifar10 --max-drop 0.2
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.records import InferenceSettings
    from wideresnet.report import comparison
    from wideresnet.tasks.classify.thumbnails import thumbnails_of

    check_targets(page)
    check_engine(engine)
    is_file = _are_files(a, b)
    running = "engine", "precision", "threads", "device", "batch_size"
    check_unused(context, is_file, "on files of scores", *running, *FACT_NAMES)
    check_unused(context, is_file and not page, "on files of scores without --report", "data")
    if is_file:
        result = _compare_files(Path(a), Path(b), data, labels)
    elif labels:
        raise ConfigError("--labels has no effect on two models", hint="leave it out: it is for files of scores")
    else:
        result = _compare_models((a, b), data, InferenceSettings(engine, precision, threads, batch_size), files.facts())
    report = result.report
    if page:
        images = thumbnails_of(comparison.shown_paths(report), result.items, result.spec)
        save_text(page, comparison.to_html(report, result.labels, images))
    print_record(report, comparison.to_json, partial(comparison.to_text, labels=result.labels), format)
    failures = [*report.a.failures, *report.b.failures]
    list_problems(report.warnings, failures, report.a.skipped, report.a.data)
    problem = "" if max_drop is None else comparison.describe_drop(report, max_drop)
    if problem:
        say(problem, err=True)
    raise typer.Exit(1 if problem or failures else 0)


def _are_files(a: str, b: str) -> bool:
    """Return True for two files of scores. Raises ConfigError for a file and a model."""
    is_file, b_is_file = (name.lower().endswith(SUFFIXES) for name in (a, b))
    if is_file != b_is_file:
        message = f"cannot compare a file of scores with a model: {a} and {b}"
        raise ConfigError(message, hint="name two files of scores, or two models")
    return is_file


def _compare_files(a: Path, b: Path, data: Path | None, labels: str) -> Comparison:
    from wideresnet.datasets.labels.formats import read_list_or_file
    from wideresnet.datasets.pairing import pair_by_name, pair_by_path
    from wideresnet.report.comparison import shown_paths
    from wideresnet.tasks.evaluate.comparison import compare_files

    classes = read_list_or_file(labels)
    list_notes(classes.notes)
    result = compare_files(a, b, classes.labels)
    if data is None:
        return result
    if not result.labels.names:
        raise ConfigError("--data needs the classes of the files", hint="give --labels, such as cifar10 or a file")
    items = {item.path: item for item in open_data(data, result.labels).items}
    shown = shown_paths(result.report)
    pairs = pair_by_path(shown, items) or pair_by_name(shown, items)
    if len(pairs) < len(shown):
        list_notes([f"{len(shown) - len(pairs)} of {len(shown)} images of the page are not in {data}"])
    return replace(result, items={path: items[name] for path, name in pairs.items()})


def _compare_models(
    names: tuple[str, str], data: Path | None, settings: InferenceSettings, facts: FileFacts
) -> Comparison:
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.tasks.evaluate.comparison import compare_models
    from wideresnet.tasks.load.load import ModelChoice

    if data is None:
        raise ConfigError("two models are compared on labelled images", hint="name them with --data")
    check_parquet_extra([data])
    bundles = open_bundle(ModelChoice(names[0], facts=facts)), open_bundle(ModelChoice(names[1], facts=facts))
    images = open_data(data, bundles[0].labels)
    return run_with_bar(compare_models(names, bundles, images, settings), "comparing", "images")
