"""What the commands share that can work on a Ray cluster."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from wideresnet.cli.checks import refuse_idle
from wideresnet.cli.output import list_failures, locate, print_json, progress_bars, say_skipped, update_bar
from wideresnet.cli.streams import print_lines, say
from wideresnet.errors import ConfigError, OutputError, needs_extra

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.cluster.listing import Listing
    from wideresnet.cluster.operations import Operation
    from wideresnet.records import BulkReport

Ray = Annotated[
    str,
    typer.Option("--ray", help="Work on a Ray cluster: HOST:PORT, auto (this machine's), or local (a new one)."),
]
WorkerCount = Annotated[int, typer.Option("--workers", min=0, help="With --ray: processes; 0: as many as fit.")]
Cpus = Annotated[int, typer.Option("--cpus", min=0, help="With --ray: of each worker; 0: all of the smallest node.")]
ShardSize = Annotated[int, typer.Option("--shard-size", min=1, help="With --ray: images in a file of the output.")]
SHARD = 1024


@dataclass(frozen=True)
class Cluster:
    """Where to work, in pieces of what size, and where to write: a folder or a URI."""

    address: str
    workers: int
    cpus: int
    shard: int
    output: str | None

    def size(self, batch: int) -> int:
        """Images of a shard: whole batches, so that every image has the neighbours it has without a cluster."""
        return -(-self.shard // batch) * batch


def check_options(context: typer.Context, ray: str) -> None:
    """Refuse what only a cluster takes without one, and beside one what it decides."""
    refuse_idle(context, not ray, "without --ray", "workers", "cpus", "shard_size")
    refuse_idle(context, bool(ray), "as --ray writes Parquet, a file a shard", "dedupe", "infer_mode", "shard")
    refuse_idle(context, bool(ray), "with --ray", "threads", hint="a worker has as many as --cpus says")


def work_through(operation: Operation, bundle: Bundle, paths: list[str], cluster: Cluster, *, json: bool) -> NoReturn:
    """Answer all images at ``paths``, say what was done, and end."""
    with needs_extra("working on a cluster", "ray"):
        from wideresnet.cluster.listing import list_images
        from wideresnet.report import bulk

    report = spread(operation, bundle, list_images(paths, cluster.size(operation.batch_size)), cluster)
    if json:
        print_json(bulk.to_json(report))
    else:
        print_lines(bulk.to_text(report))
    list_failures(report.failures)
    say_skipped([report.skipped], *paths)
    raise typer.Exit(1 if report.failures else 0)


def spread(operation: Operation, bundle: Bundle, listing: Listing, cluster: Cluster) -> BulkReport:
    """The finished run, with a bar while it goes on."""
    from wideresnet.cluster.bulk import run_bulk
    from wideresnet.cluster.connect import plan_workers, ray_connection
    from wideresnet.cluster.worker import BulkJob
    from wideresnet.records import follow

    if not cluster.output:
        raise ConfigError("--ray writes files", hint="name a folder that all nodes see, or a URI, with -o")
    quieten()
    # Ray tells of lost nodes on stdout, which is for answers.
    with redirect_stdout(sys.stderr), ray_connection(cluster.address, _lost), progress_bars("images") as bars:
        task = bars.add_task("starting workers", total=listing.images)
        workers = plan_workers(cluster.workers, cluster.cpus)
        job = BulkJob(operation, cluster.output, workers.cpus)
        return follow(run_bulk(job, bundle, listing, workers), lambda event: update_bar(bars, task, event))


def _lost() -> None:
    """Say that the cluster's head is gone, and end: Ray would do the second without the first."""
    with suppress(OutputError):
        say("error: the head of the cluster is gone", err=True)
        say("  hint:  what is written stays; the same command does the rest on another cluster", err=True)
    os._exit(2)


def located(data: str) -> str:
    """``data``, or the official CIFAR archive where it is the word "cifar10" or "cifar100"."""
    return data if "://" in data else str(locate(Path(data)))


def quieten() -> None:
    """Have Ray send nothing about its use, and write its own affairs only to its logs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
