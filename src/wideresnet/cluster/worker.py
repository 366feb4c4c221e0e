"""The workers of a bulk job: each opens the model once, then processes shards.

Every shard becomes one Parquet part, written completely or not at all, so a process may end at any moment. A file
``.begun`` beside the part counts attempts at a shard and is removed when the part is written. If there was an earlier
attempt, an image may have crashed its process: the images are first decoded in child processes, and those that crash
become failures. A shard whose part exists is not processed again; Ray retries shards of lost nodes.
"""

from __future__ import annotations

import json
import pickle
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from wideresnet import __version__
from wideresnet.bundle import Bundle
from wideresnet.cluster import crash_isolation
from wideresnet.cluster.operations import ImageResult, OpenOperation, Operation
from wideresnet.cluster.shards import OpenShard, Shard, open_shard
from wideresnet.cluster.store import Store
from wideresnet.errors import ConfigError, DataError, WrnError, errors_as
from wideresnet.records import EngineInfo, Failure, ShardDone

# Keys of a part's metadata: its ShardDone and its failures, as JSON.
SHARD_KEY, FAILURES_KEY = b"wideresnet.shard", b"wideresnet.failures"
MISSING = "no such file"


@dataclass(frozen=True)
class BulkJob:
    """The settings of all workers of a run; ``threads`` per worker."""

    operation: Operation
    output: str
    threads: int
    version: str = __version__                     # of this package, where the command runs


class RayWorker:
    """An actor that Ray Data calls with shards; it holds the model."""

    def __init__(self, job: BulkJob, bundle: Sequence[Any]) -> None:
        """``bundle`` contains Ray's reference, so that a node receives the bundle only once."""
        import ray

        loaded: Bundle = ray.get(bundle[0])
        node = ray.get_runtime_context().get_node_id()
        self._worker = ShardWorker(job, job.operation.open(loaded, job.threads), node)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Process pickled shards and return pickled ShardDone records."""
        return {"done": [pickle.dumps(self._worker.process(pickle.loads(shard))) for shard in batch["shard"]]}


@dataclass
class ShardWorker:
    """Processes shards, each into one Parquet part; the module's docstring describes attempts."""

    job: BulkJob
    operation: OpenOperation
    node: str

    def process(self, shard: Shard) -> ShardDone:
        """Process a shard, unless its part exists. An error that concerns all images is returned in ``error``."""
        store, part = Store(self.job.output), part_name(shard.number)
        begun = f".{part}.begun"
        start = time.perf_counter()
        pending = ShardDone(shard.number, node=self.node, host=socket.gethostname(), engine=self.operation.engine)
        try:
            if self.job.version != __version__:
                versions = f"wideresnet is {__version__} here, the command {self.job.version}"
                raise ConfigError(versions, hint="install the same on every node")
            if store.has(part):                    # written before its node was lost
                return replace(read_part(store, part)[0], node=self.node)
            attempt = 1 + _count_attempts(store, begun)
            store.write(begun, str(attempt).encode())
            results, crashed = self._run(shard, isolate=attempt > 1)
            failures = sum(isinstance(result, Failure) for result in results)
            done = replace(
                pending, pictures=len(results), failures=failures, seconds=time.perf_counter() - start, attempt=attempt,
                crashed=crashed,
            )  # fmt: skip
            store.write(part, _serialize_part(self.operation, results, done))
            store.remove(begun)
        except (WrnError, OSError) as error:
            hint = error.hint if isinstance(error, WrnError) else ""
            return replace(pending, error=str(error), hint=hint, seconds=time.perf_counter() - start)
        return done

    def _run(self, shard: Shard, isolate: bool) -> tuple[list[ImageResult], int]:
        """Return one result per image, in order, and the number of images that crash the decoder."""
        opened = open_shard(shard)
        crashing: set[int] = set()
        if isolate:
            items, exif = list(opened.items), self.job.operation.settings.exif
            crashing = crash_isolation.find_crashing_images(items, self.operation.spec, exif)
            # Without bytes, crashing images fail harmlessly, and batches stay the same.
            opened.items = (replace(item, source=b"") if n in crashing else item for n, item in enumerate(items))
        results = list(self.operation.run(opened.items))
        return list(_explain_failures(results, opened, crashing)), len(crashing)


def part_name(number: int) -> str:
    """Return the file name of a shard's part."""
    return f"part-{number:06}.parquet"


def read_part(store: Store, part: str) -> tuple[ShardDone, tuple[Failure, ...]]:
    """Read a part's metadata. Raises DataError for another kind of file, and as ``Store`` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    damage, problem = (pa.ArrowException, KeyError, TypeError, ValueError), f"{part} in {store.uri} is not a part"
    with errors_as(damage, DataError, f"{problem} of a bulk run", hint="remove it, then give the same command"):
        with store.open(part) as file:
            metadata = pq.read_metadata(file).metadata
        values, failures = json.loads(metadata[SHARD_KEY]), json.loads(metadata[FAILURES_KEY])
        done = ShardDone(**{**values, "engine": EngineInfo(**values["engine"])})
        return done, tuple(Failure(**failure) for failure in failures)


def _count_attempts(store: Store, begun: str) -> int:
    try:
        return int(store.read(begun) or b"1")
    except (FileNotFoundError, ValueError):
        return 0


def _explain_failures(results: Sequence[ImageResult], opened: OpenShard, crashing: set[int]) -> Iterator[ImageResult]:
    for index, result in enumerate(results):
        if index in crashing:
            yield Failure(result.path, crash_isolation.ERROR, crash_isolation.HINT)
        elif index in opened.missing:
            yield Failure(result.path, MISSING)
        else:
            yield result


def _serialize_part(operation: OpenOperation, results: Sequence[ImageResult], done: ShardDone) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    failures = [asdict(result) for result in results if isinstance(result, Failure)]
    metadata = {SHARD_KEY: json.dumps(asdict(done)), FAILURES_KEY: json.dumps(failures)}
    table = operation.to_table(results).replace_schema_metadata(metadata)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return bytes(buffer.getvalue())
