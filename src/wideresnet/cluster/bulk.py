"""Bulk jobs on a Ray cluster: Ray Data passes shards to workers, and every shard becomes one file.

    OUT/run.json              the identity of the run: everything that decides the results
    OUT/part-000000.parquet   the results of shard 0, in order, and so on

The files are the only state: a shard is done when its part exists, so an interrupted run resumes with the others, and
no result is lost or duplicated when Ray retries work. Shards that failed are tried in up to ``MAX_ROUNDS`` rounds,
each on nodes where none has failed before.
"""

from __future__ import annotations

import json
import pickle
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wideresnet.bundle import Bundle
from wideresnet.cluster.connect import Workers, exclude_nodes, has_node
from wideresnet.cluster.listing import Listing
from wideresnet.cluster.shards import Shard
from wideresnet.cluster.store import Store
from wideresnet.cluster.worker import BulkJob, RayWorker, part_name, read_part
from wideresnet.errors import ConfigError, DataError
from wideresnet.output.row_format import from_cells
from wideresnet.records import BulkReport, Failure, Progress, RunIdentity, ShardDone

RUN_FILE = "run.json"
MAX_ROUNDS = 3


@dataclass
class ShardErrors:
    """The errors of a run so far."""

    avoided: dict[str, str] = field(default_factory=dict)      # node -> why it gets no more shards
    by_shard: dict[int, ShardDone] = field(default_factory=dict)

    def add(self, done: ShardDone) -> None:
        """Record a failed shard, and avoid its node."""
        self.by_shard[done.number] = done
        self.avoided.setdefault(done.node, f"{done.host}: {done.error}")


def run_bulk(job: BulkJob, bundle: Bundle, listing: Listing, workers: Workers) -> Generator[Progress, None, BulkReport]:
    """Process every shard that has no part yet; yield progress and return the report.

    Raises ConfigError where the output belongs to another run, DataError where no node could process some shards.
    """
    started, store = time.perf_counter(), Store(job.output)
    pending = find_pending(store, listing, run_identity(job, bundle, listing))
    finished_before = len(listing.shards) - len(pending)
    errors, images = ShardErrors(), 0
    for _ in range(MAX_ROUNDS):
        if not pending or not has_node(workers, errors.avoided):
            break
        for done in _run_round(job, bundle, pending, workers, errors.avoided):
            if done.error:
                errors.add(done)
            else:
                images += done.pictures
                yield Progress("working", images, listing.images)
        pending = _without_parts(store.sizes(), pending)
    if pending:
        raise _unfinished(pending, errors)
    return _report(job, bundle, listing, finished_before, errors, time.perf_counter() - started)


def find_pending(store: Store, listing: Listing, identity: RunIdentity) -> list[Shard]:
    """Return the shards without a part; write the run's identity, or compare it. Raises ConfigError if it differs."""
    names = store.sizes()
    if RUN_FILE in names:
        for change in identity.differences(json.loads(store.read(RUN_FILE))):
            raise ConfigError(
                f"{store.uri} belongs to another run: {change.key} is {change.earlier!r} there, {change.now!r} here",
                hint="use the same model, images and options, or name another output",
            )
    elif any(name.endswith(".parquet") for name in names):
        raise ConfigError(f"{store.uri} holds other files", hint="name an empty or a new folder")
    else:
        store.write(RUN_FILE, (json.dumps(identity.as_json(), indent=1) + "\n").encode())
    return _without_parts(names, listing.shards)


def run_identity(job: BulkJob, bundle: Bundle, listing: Listing) -> RunIdentity:
    """Return everything that decides the results and their files."""
    source = {"pictures": listing.images, "source": listing.sha256, "shards": len(listing.shards)}
    work, labels = type(job.operation).__name__.lower(), bundle.labels.digest
    settings = {"work": work, **job.operation.identity(), **source, "labels": labels}
    return RunIdentity.of_model(bundle.card, settings)


def read_results(output: str, shards: Sequence[Shard]) -> tuple[list[ShardDone], list[Failure]]:
    """Read the metadata of all parts: their records, and the failed images, in order. Raises DataError."""
    store, records, failures = Store(output), list[ShardDone](), list[Failure]()
    for shard in shards:
        part = part_name(shard.number)
        done, shard_failures = read_part(store, part)
        if done.pictures != len(shard) or done.number != shard.number:
            problem = f"{part} holds {done.pictures} results, its shard {len(shard)} images"
            raise DataError(problem, hint="remove it, then give the same command")
        records.append(done)
        failures += shard_failures
    return records, failures


def read_rows(output: str, listing: Listing) -> Iterator[dict[str, Any]]:
    """Yield every row of every part, in order. Raises DataError."""
    import pyarrow.parquet as pq

    store = Store(output)
    for shard in listing.shards:
        with store.open(part_name(shard.number)) as file:
            yield from map(from_cells, pq.read_table(file).to_pylist())


def _run_round(
    job: BulkJob, bundle: Bundle, shards: Sequence[Shard], workers: Workers, avoided: Collection[str]
) -> Iterator[ShardDone]:
    """Yield the shards that Ray Data has processed; one that Ray gives up is missing, as is its part."""
    import ray

    reference = [ray.put(bundle)]                  # in a list, it stays a reference and is fetched once per node
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        RayWorker,
        batch_size=1,
        fn_constructor_args=(job, reference),
        concurrency=(1, max(1, min(workers.count, len(shards)))),
        num_cpus=workers.cpus,
        label_selector=exclude_nodes(avoided),
    )
    for row in dataset.iter_rows():
        yield pickle.loads(row["done"])


def _without_parts(names: Collection[str], shards: Sequence[Shard]) -> list[Shard]:
    """Return those of ``shards`` whose part is not among the files ``names``."""
    return [shard for shard in shards if part_name(shard.number) not in names]


def _unfinished(pending: Sequence[Shard], errors: ShardErrors) -> DataError:
    first = errors.by_shard.get(pending[0].number)
    reason = f"{first.host}: {first.error}" if first else "this process does not see its part"
    hint = (first.hint if first else "") or "give an output that all nodes see under the same name"
    return DataError(f"{len(pending)} shards failed, the first is {pending[0].number}: {reason}", hint=hint)


def _report(
    job: BulkJob, bundle: Bundle, listing: Listing, finished_before: int, errors: ShardErrors, seconds: float
) -> BulkReport:
    records, failures = read_results(job.output, listing.shards)
    return BulkReport(
        output=job.output,
        model=bundle.card.name,
        pictures=sum(done.pictures for done in records),
        shards=len(records),
        kept=finished_before,
        seconds=seconds,
        engines=tuple(dict.fromkeys(done.engine for done in records if done.engine)),
        failures=tuple(failures),
        shards_of_host=dict(Counter(done.host for done in records)),
        again=sum(done.attempt > 1 for done in records),
        avoided=errors.avoided,
        assumed=bundle.card.assumed,
        skipped=listing.skipped,
    )
