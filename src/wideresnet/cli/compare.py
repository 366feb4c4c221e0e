"""``wrn compare``"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.options import (
    Arithmetic,
    Engine,
    EngineName,
    Format,
    Precision,
    TextOrJson,
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
    from wideresnet.records import ComparisonReport, Item, Labels, Preprocess

SUFFIXES = (".csv", ".jsonl", ".parquet")
SIDE = "A file that 'wrn evaluate -o' wrote (.csv, .jsonl, .parquet), or a model."


def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(help=SIDE)],
    b: Annotated[str, typer.Argument(help="The other: the same kind of thing.")],
    data: Annotated[
        Path | None, typer.Option(help="Models: what to evaluate both on. Files: where the page's images are.")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Files: names of the classes, a file with one a line, or imagenet, cifar10, …")
    ] = "",
    engine: EngineName = Engine.openvino,
    precision: Precision = Arithmetic.f32,
    threads: Threads = 0,
    batch_size: Annotated[int, typer.Option(min=0, help="Images at a time; 0: as tuned for A, or 8.")] = 0,
    max_drop: Annotated[
        float | None, typer.Option(help="Exit with 1 when B's top-1 is more percentage points below A's than this.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--report", help="Write a page with the images that flipped.")] = None,
    format: Format = TextOrJson.table,
) -> None:
    """Two models on the same labelled images, paired by path: what differs, and how sure that is.

    Prints both accuracies, their difference with its interval and McNemar's exact test, the classes that changed most
    and the images that only one got right. The exit code is 0 whatever the difference is, unless --max-drop is given;
    1 also where images could not be read, which are listed on stderr.

    Example: wrn compare f32.parquet int8.parquet --labels imagenet --report flips.html

    Example: wrn compare wrn_16_4.cifar10 wrn-int8/ --data cifar10 --max-drop 0.2
    """
    from wideresnet.output.atomic import save_text
    from wideresnet.report import comparison
    from wideresnet.tasks.classify.thumbnails import thumbnails_of

    check_targets(page)
    if _is_scores(a) != _is_scores(b):
        raise ConfigError(f"{a} and {b} are not the same kind of thing", hint="give two files of scores, or two models")
    refuse_idle(context, _is_scores(a), "on files of scores", "engine", "precision", "threads", "batch_size")
    refuse_idle(context, _is_scores(a) and bool(labels) and not page, "on files of scores without --report", "data")
    if _is_scores(a):
        found = _files(Path(a), Path(b), data, labels)
    elif labels:
        raise ConfigError("models know their labels", hint="--labels is for files of scores")
    else:
        found = _models((a, b), data, (engine, precision.value, threads), batch_size)
    if page:
        images = thumbnails_of(comparison.shown_paths(found.report), found.items, found.spec)
        save_text(page, comparison.to_html(found.report, found.labels, images))
    if format is TextOrJson.json:
        print_json(comparison.to_json(found.report))
    else:
        print_lines(comparison.to_text(found.report, found.labels))
    list_notes(found.report.warnings, "warning")
    list_failures([*found.report.a.failures, *found.report.b.failures])
    say_skipped([found.report.a.skipped], found.report.a.data)
    raise typer.Exit(1 if found.report.a.failures or found.report.b.failures or _drops(found.report, max_drop) else 0)


@dataclass(frozen=True)
class _Found:
    """A comparison, and what its page needs besides: names, and where the images are and how they were seen."""

    report: ComparisonReport
    labels: Labels
    items: Mapping[str, Item]
    spec: Preprocess | None


def _is_scores(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _files(a: Path, b: Path, data: Path | None, labels: str) -> _Found:
    from wideresnet.output.scores import read_scores
    from wideresnet.records import EvalReport
    from wideresnet.tasks.evaluate.comparison import compare_answers

    if data is not None and not labels:
        raise ConfigError("--data needs the classes of the files", hint="give --labels, such as cifar10 or a file")
    names = _labels(labels)
    blanks = (EvalReport(str(a), "", None, 0, 0, 0), EvalReport(str(b), "", None, 0, 0, 0))
    report = compare_answers(read_scores(a), read_scores(b), blanks, names)
    items = open_data(data, names).items if data else ()
    return _Found(report, names, {item.path: item for item in items}, None)


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
    names: tuple[str, str], data: Path | None, how: tuple[str, Literal["f32", "bf16"], int], batch_size: int
) -> _Found:
    from wideresnet.datasets.shards import check_parquet_extra
    from wideresnet.engines.throughput import throughput_options
    from wideresnet.tasks.evaluate.comparison import compare_answers, score_both
    from wideresnet.tasks.evaluate.evaluate import blank_report
    from wideresnet.tasks.load.load import ModelChoice, open_classifier

    if data is None:
        raise ConfigError("two models are compared on labelled images", hint="name them with --data")
    check_parquet_extra([data])
    engine, precision, threads = how
    bundles = [open_bundle(ModelChoice(name)) for name in names]
    images = open_data(data, bundles[0].labels)
    options, batch = throughput_options(bundles[0], precision, threads)
    a, b = (open_classifier(bundle, engine, options) for bundle in bundles)
    scored = []
    with progress_bars("images") as bars:
        task = bars.add_task("comparing", total=len(images.items))
        for pair in score_both(a, b, images, batch_size or batch):
            scored.append(pair)
            bars.advance(task)
    blanks = blank_report(a, images), blank_report(b, images)
    if a.card.name == b.card.name:                 # the folders tell them apart
        blanks = replace(blanks[0], model=names[0]), replace(blanks[1], model=names[1])
    report = compare_answers([one for one, _ in scored], [other for _, other in scored], blanks, a.labels)
    return _Found(report, a.labels, {item.path: item for item in images.items}, a.card.preprocess)


def _drops(report: ComparisonReport, most: float | None) -> bool:
    """Whether B lost more than ``most`` points; said on stderr."""
    # The rest is for rounding: 0.7 points of 1,000 are 7 images.
    if most is None or report.only_a_correct - report.only_b_correct <= most / 100 * report.n + 1e-6:
        return False
    say(f"B is more than {most:g} points of top-1 below A", err=True)
    return True
