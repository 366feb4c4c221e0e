"""The process on a node: it opens the model once, then answers shard after shard."""

from __future__ import annotations

import json
import pickle
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wideresnet.bundle import Bundle
from wideresnet.cluster import crash_isolation as poison
from wideresnet.cluster.operations import Answer, Running, Work
from wideresnet.cluster.shards import Opened, Shard, open_shard
from wideresnet.cluster.store import Store
from wideresnet.errors import DataError, WrnError
from wideresnet.records import EngineInfo, Failure, Item, ShardDone

SHARD, FAILURES = b"wideresnet.shard", b"wideresnet.failures"      # a part's metadata: its ShardDone, and a list
GONE = "it is not there any more"


@dataclass(frozen=True)
class Job:
    """What every worker of a run is told. ``threads`` are those of one worker."""

    work: Work
    output: str
    threads: int


class Worker:
    """What Ray calls with shards. It holds a model, and is an actor."""

    def __init__(self, job: Job, bundle: Sequence[Any]) -> None:
        """``bundle`` holds Ray's reference to it, so that it is sent to a node only once."""
        import ray

        found: Bundle = ray.get(bundle[0])
        node = ray.get_runtime_context().get_node_id()
        self._shards = ShardWorker(job, job.work.open(found, job.threads), node)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pickled shards -> pickled ``ShardDone`` s."""
        return {"done": [pickle.dumps(self._shards.do(pickle.loads(each))) for each in batch["shard"]]}


@dataclass
class ShardWorker:
    """Answers shards, each into a file of its own, so that none is lost or there twice whatever ends the process.

    A file ``.begun`` beside it counts the attempts. Where an earlier one has begun and not ended, the images are
    decoded in other processes first: one of them may be what ended it.
    """

    job: Job
    running: Running
    node: str

    def do(self, shard: Shard) -> ShardDone:
        """Answer a shard, if no part holds it yet. What goes wrong with all of it is in ``error``."""
        store, part = Store(self.job.output), part_name(shard.number)
        begun = f".{part}.begun"
        start = time.perf_counter()
        here = ShardDone(shard.number, node=self.node, host=socket.gethostname(), engine=self.running.engine)
        try:
            if store.has(part):                    # written, and then the node was lost
                return replace(read_part(store, part)[0], node=self.node)
            attempt = 1 + _attempts(store, begun)
            store.write(begun, str(attempt).encode())
            answers, crashed = self._answers(shard, careful=attempt > 1)
            failures = sum(isinstance(each, Failure) for each in answers)
            done = replace(
                here, pictures=len(answers), failures=failures, seconds=time.perf_counter() - start, attempt=attempt,
                crashed=crashed,
            )  # fmt: skip
            store.write(part, _parquet(self.running, answers, done))
            store.remove(begun)
        except (WrnError, OSError) as error:
            hint = error.hint if isinstance(error, WrnError) else ""
            return replace(here, error=str(error), hint=hint, seconds=time.perf_counter() - start)
        return done

    def _answers(self, shard: Shard, careful: bool) -> tuple[list[Answer], int]:
        """One answer an image, in order; and how many images end the process that decodes them."""
        opened = open_shard(shard)
        crashing: set[int] = set()
        if careful:
            items = list(opened.items)
            crashing = poison.crashing(items, self.running.spec, self.job.work.exif)
            opened.items = _without(items, crashing)
        answers = list(self.running.answer(opened.items))
        return list(_named(answers, opened, crashing)), len(crashing)


def part_name(number: int) -> str:
    """The file of a shard."""
    return f"part-{number:06}.parquet"


def read_part(store: Store, part: str) -> tuple[ShardDone, tuple[Failure, ...]]:
    """What a part says of itself. Raises DataError for a file of another kind, and what ``Store`` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with store.open(part) as file:
            kept = pq.read_metadata(file).metadata
        values, failures = json.loads(kept[SHARD]), json.loads(kept[FAILURES])
        done = ShardDone(**{**values, "engine": EngineInfo(**values["engine"])})
        return done, tuple(Failure(**each) for each in failures)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{part} in {store.uri} is no part of a bulk run: {error}", hint="remove it; the same command makes it anew"
        ) from error


def _attempts(store: Store, begun: str) -> int:
    try:
        return int(store.read(begun) or b"1")
    except (FileNotFoundError, ValueError):
        return 0


def _without(items: Sequence[Item], crashing: set[int]) -> Iterator[Item]:
    """The same number of items, so that batches stay what they were; those that crash have nothing to decode."""
    for place, item in enumerate(items):
        yield replace(item, source=b"") if place in crashing else item


def _named(answers: Sequence[Answer], opened: Opened, crashing: set[int]) -> Iterator[Answer]:
    for place, answer in enumerate(answers):
        if place in crashing:
            yield Failure(answer.path, poison.ERROR, poison.HINT)
        elif place in opened.gone:
            yield Failure(answer.path, GONE)
        else:
            yield answer


def _parquet(running: Running, answers: Sequence[Answer], done: ShardDone) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    failures = [asdict(each) for each in answers if isinstance(each, Failure)]
    kept = {SHARD: json.dumps(asdict(done)), FAILURES: json.dumps(failures)}
    table = running.table(answers).replace_schema_metadata(kept)
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return bytes(out.getvalue())
