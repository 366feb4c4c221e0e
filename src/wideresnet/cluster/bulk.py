"""Many images on a Ray cluster: Ray Data hands shards to workers, and every shard becomes one file.

    OUT/run.json              what decides the answers
    OUT/part-000000.parquet   the answers to shard 0, in order, and so on

The files are the truth: a shard whose part is there is done, and a run that was interrupted in any way goes on with
the others. Nothing is lost and nothing is there twice, whatever Ray does again.
"""

from __future__ import annotations

import json
import pickle
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from wideresnet.bundle import Bundle
from wideresnet.bundle.files import GRAPH
from wideresnet.cluster.connect import Workers, node_is_not
from wideresnet.cluster.listing import Listing
from wideresnet.cluster.shards import Shard
from wideresnet.cluster.store import Store
from wideresnet.cluster.worker import Job, Worker, part_name, read_part
from wideresnet.errors import ConfigError, DataError
from wideresnet.output.row_format import from_cells
from wideresnet.records import BulkReport, Failure, Progress, ShardDone

RUN = "run.json"
ROUNDS = 3                                         # in which shards are tried that came to nothing before


@dataclass
class Rounds:
    """What happened so far."""

    avoided: dict[str, str] = field(default_factory=dict)      # node -> why no shard goes there any more
    errors: dict[int, ShardDone] = field(default_factory=dict)


def run_bulk(job: Job, bundle: Bundle, listing: Listing, workers: Workers) -> Generator[Progress, None, BulkReport]:
    """Answer the images of every shard that has no part yet, and return the report.

    Raises ConfigError where the output is of another run,
    DataError where shards remain that no node could answer.
    """
    started, store = time.perf_counter(), Store(job.output)
    left = unfinished(store, listing, identity(job, bundle, listing))
    kept = len(listing.shards) - len(left)
    rounds, images = Rounds(), 0
    for _ in range(ROUNDS):
        if not left:
            break
        for done in _once(job, bundle, left, workers, rounds):
            _note(done, rounds)
            if not done.error:
                images += done.pictures
                yield Progress("working", images, listing.images)
        left = _missing(set(store.names()), left)
    if left:
        _refuse(left, rounds)
    return _report(job, bundle, listing, kept, rounds, time.perf_counter() - started)


def unfinished(store: Store, listing: Listing, run: Mapping[str, Any]) -> list[Shard]:
    """The shards that have no part yet; ``run`` is written down, or held against what is there."""
    names = set(store.names())
    now = json.loads(json.dumps(run))
    if RUN in names:
        before = json.loads(store.read(RUN))
        for key in now | before:
            if now.get(key) != before.get(key):
                raise ConfigError(
                    f"{store.uri} is of another run: its {key} is {before.get(key)!r}, asked is {now.get(key)!r}",
                    hint="go on with the same model, images and options, or name another output",
                )
    elif any(name.endswith(".parquet") for name in names):
        raise ConfigError(f"{store.uri} holds other files", hint="name an empty folder or a new one")
    else:
        store.write(RUN, (json.dumps(now, indent=1) + "\n").encode())
    return _missing(names, listing.shards)


def identity(job: Job, bundle: Bundle, listing: Listing) -> dict[str, Any]:
    """What decides the answers and their files, as JSON values."""
    card = bundle.card
    return {
        "work": type(job.work).__name__.lower(), **asdict(job.work),  # type: ignore[call-overload]
        "model": card.name, "graph": card.files.get(GRAPH, ""), "weights": card.weights_sha256,
        "preprocess": asdict(card.preprocess), "pictures": listing.images, "source": listing.sha256,
        "shards": len(listing.shards),
    }  # fmt: skip


def read_failures(output: str, shards: Sequence[Shard]) -> tuple[Counter[str], list[ShardDone], list[Failure]]:
    """Of all parts: shards by host, what each says, and every image that failed, in order. Raises DataError."""
    store, hosts = Store(output), Counter[str]()
    every: list[ShardDone] = []
    failures: list[Failure] = []
    for shard in shards:
        done, failed = read_part(store, part_name(shard.number))
        if done.pictures != len(shard) or done.number != shard.number:
            raise DataError(
                f"{part_name(shard.number)} holds {done.pictures} answers, its shard {len(shard)} images",
                hint="remove it; the same command makes it anew",
            )
        hosts[done.host] += 1
        every.append(done)
        failures += failed
    return hosts, every, failures


def read_rows(output: str, listing: Listing) -> Iterator[dict[str, Any]]:
    """Every row of every part, in order. Raises DataError."""
    import pyarrow.parquet as pq

    store = Store(output)
    for shard in listing.shards:
        with store.open(part_name(shard.number)) as file:
            yield from map(from_cells, pq.read_table(file).to_pylist())


def _once(job: Job, bundle: Bundle, shards: Sequence[Shard], workers: Workers, rounds: Rounds) -> Iterator[ShardDone]:
    """Ray Data over ``shards``. What Ray itself gives up is not yielded: its part is missing then."""
    import ray

    reference = [ray.put(bundle)]                  # in a list it arrives as a reference, and is fetched once a node
    rows = [{"shard": pickle.dumps(shard)} for shard in shards]
    found = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(job, reference),
        concurrency=(1, max(1, min(workers.count, len(shards)))),
        num_cpus=workers.cpus,
        label_selector=node_is_not(rounds.avoided),
    )
    for row in found.iter_rows():
        yield pickle.loads(row["done"])


def _note(done: ShardDone, rounds: Rounds) -> None:
    if done.error:
        rounds.errors[done.number] = done
        rounds.avoided.setdefault(done.node, f"{done.host}: {done.error}")


def _missing(names: Collection[str], shards: Sequence[Shard]) -> list[Shard]:
    """Those of ``shards`` that have no part among the files of the output."""
    return [shard for shard in shards if part_name(shard.number) not in names]


def _refuse(left: Sequence[Shard], rounds: Rounds) -> None:
    first = rounds.errors.get(left[0].number)
    reason = f": {first.host}: {first.error}" if first else ": their parts are not where this process looks for them"
    hint = (first.hint if first else "") or "every node must see the output under the same name"
    raise DataError(f"{len(left)} shards could not be answered, the first is {left[0].number}{reason}", hint=hint)


def _report(
    job: Job, bundle: Bundle, listing: Listing, kept: int, rounds: Rounds, seconds: float
) -> BulkReport:
    hosts, every, failures = read_failures(job.output, listing.shards)
    return BulkReport(
        output=job.output,
        model=bundle.card.name,
        pictures=sum(done.pictures for done in every),
        shards=len(every),
        kept=kept,
        seconds=seconds,
        engines=tuple(dict.fromkeys(done.engine for done in every if done.engine)),
        failures=tuple(failures),
        shards_of_host=dict(hosts),
        again=sum(done.attempt > 1 for done in every),
        avoided=rounds.avoided,
        assumed=bundle.card.assumed,
        skipped=listing.skipped,
    )
