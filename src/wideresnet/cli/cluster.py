"""Work on a Ray cluster, for the commands that take ``ClusterOptions``."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from wideresnet.cli.checks import check_unused
from wideresnet.cli.groups import ClusterOptions
from wideresnet.cli.output import hold, list_failures, list_notes, locate, print_record, say_skipped
from wideresnet.cli.progress import progress_bars, update_bar
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError, OutputError, check_extra

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.cluster.listing import Listing
    from wideresnet.cluster.operations import Operation
    from wideresnet.records import BulkReport, InferenceSettings
    from wideresnet.tasks.evaluate.evaluate import AnswerSource


def check_cluster_options(context: typer.Context, cluster: ClusterOptions) -> None:
    """Raise ConfigError for options of a cluster without one, and for those that a cluster decides itself."""
    ray = bool(cluster.ray)
    if ray:
        check_extra("working on a cluster", "ray", "ray")
    check_unused(context, not ray, "without --ray", "workers", "cpus", "shard_size")
    check_unused(context, ray, "as --ray writes Parquet, a file a shard", "dedupe", "infer_mode", "shard")
    rows = ray and context.params["format"] not in (None, "table", "json")
    check_unused(context, rows, "as --ray writes Parquet, a file a shard", "format")
    check_unused(context, ray, "with --ray", "threads", hint="set the threads of a worker with --cpus")


def run_on_images(
    operation: Operation, bundle: Bundle, paths: list[str], cluster: ClusterOptions, output: str | None, format: str
) -> NoReturn:
    """Answer all images at ``paths``, print a report, and exit."""
    from wideresnet.cluster.listing import list_images
    from wideresnet.prediction_sets import precision_notes
    from wideresnet.report import bulk

    listing = list_images(paths, cluster.round_up(operation.settings.batch_size))
    report = run_job(operation, bundle, listing, cluster, output)
    print_record(report, bulk.to_json, bulk.to_text, format)
    list_notes(dict.fromkeys(note for engine in report.engines for note in precision_notes(bundle.card, engine)))
    list_failures(report.failures)
    say_skipped(report.skipped, *paths)
    raise typer.Exit(1 if report.failures else 0)


def evaluate_on_cluster(
    bundle: Bundle, data: str, labels_file: Path | None, settings: InferenceSettings, cluster: ClusterOptions,
    output: str | None,
) -> AnswerSource:  # fmt: skip
    """Return the scores of a cluster for the labelled images at ``data``, once all are written."""
    from wideresnet.cluster.bulk import read_rows
    from wideresnet.cluster.listing import list_labelled
    from wideresnet.cluster.operations import Evaluate
    from wideresnet.engines.throughput import tune_settings
    from wideresnet.output.scores import score_of
    from wideresnet.tasks.evaluate.evaluate import empty_report, source_of_data
    from wideresnet.tasks.evaluate.training_images import with_warnings

    _, settings = tune_settings(bundle, settings)
    where = data if "://" in data else str(locate(Path(data)))
    images, listing = list_labelled(where, bundle.labels, labels_file, cluster.round_up(settings.batch_size))
    images = replace(images, exif=settings.exif)
    report = run_job(Evaluate(settings, images.name, images.present), bundle, listing, cluster, output)
    engines = [f"{ran.runtime} {ran.version}, {ran.precision}, {ran.threads} threads" for ran in report.engines]
    if len(engines) > 1:
        say(f"the nodes ran several engines, and the report names the first: {'; '.join(engines)}", err=True)
    machine = {"shards_of_host": report.shards_of_host, "engines": engines}
    blank = empty_report(bundle.card, bundle.labels, report.engines[0], images, machine, settings.coverage)
    answers, blank = map(score_of, read_rows(report.output, listing)), with_warnings(blank, bundle, images)
    return source_of_data(answers, blank, bundle.labels, images, bundle.card.labels_name)


def run_job(
    operation: Operation, bundle: Bundle, listing: Listing, cluster: ClusterOptions, output: str | None
) -> BulkReport:
    """Run ``operation`` on the images of ``listing`` with a bar, and return the report."""
    from wideresnet.cluster.bulk import run_bulk
    from wideresnet.cluster.connect import plan_workers, ray_connection
    from wideresnet.cluster.worker import BulkJob
    from wideresnet.records import follow

    if not output:
        raise ConfigError("--ray writes files", hint="name a folder that all nodes see, or a URI, with -o")
    if "://" not in output:                        # a URI has no locks: docs/scale.md
        hold(Path(output))
    quieten()
    # Ray reports lost nodes on stdout, which is for answers.
    with redirect_stdout(sys.stderr), ray_connection(cluster.ray, _exit_without_head), progress_bars("images") as bars:
        task = bars.add_task("starting workers", total=listing.images)
        workers = plan_workers(cluster.workers, cluster.cpus)
        if workers.count < cluster.workers:
            say(f"note: the cluster has room for {workers.count} of {cluster.workers} workers", err=True)
        job = BulkJob(operation, output, workers.cpus)
        return follow(run_bulk(job, bundle, listing, workers), lambda event: update_bar(bars, task, event))


def _exit_without_head() -> None:
    """Report that the cluster's head is gone, and exit: Ray itself would exit without a word."""
    with suppress(OutputError):
        say("error: the head of the cluster is gone", err=True)
        say("  hint:  what is written stays; the same command does the rest on another cluster", err=True)
    os._exit(2)


def quieten() -> None:
    """Turn off Ray's usage statistics, and its own messages outside its logs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
