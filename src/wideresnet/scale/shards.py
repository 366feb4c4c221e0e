"""What bulk work is cut into: consecutive pictures by file, or consecutive rows of a Parquet file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from wideresnet.records import Item
from wideresnet.scale.parquet import read_rows
from wideresnet.scale.store import Store

AHEAD = 32                                         # pictures of a store in memory before their turn


@dataclass(frozen=True)
class Shard:
    """So many pictures, in order. Three kinds:

    - local files, or decoded pictures: ``items`` says all;
    - files of a store: ``keys`` are theirs below ``root``, a URI; the sources of ``items`` are empty;
    - ``count`` rows of the Parquet file ``root`` from row ``first`` on.
    """

    number: int
    items: tuple[Item, ...] = ()
    root: str = ""
    keys: tuple[str, ...] = ()
    first: int = 0
    count: int = 0

    def __len__(self) -> int:
        return self.count or len(self.items)


@dataclass
class Opened:
    """A shard's pictures. ``gone`` are the places of those that are not there, known once they were read."""

    items: Iterator[Item]
    gone: set[int] = field(default_factory=set)


def open_shard(shard: Shard) -> Opened:
    """Its pictures, in order, each read from its store when its turn is near. Raises DataError while they are read."""
    if shard.count:
        return Opened(read_rows(shard.root, shard.first, shard.count))
    if not shard.keys:
        return Opened(iter(shard.items))
    opened = Opened(iter(()))
    opened.items = _fetched(shard, opened.gone)
    return opened


def _fetched(shard: Shard, gone: set[int]) -> Iterator[Item]:
    store = Store(shard.root)

    def fetch(place: int) -> Item:
        item = shard.items[place]
        try:
            return replace(item, source=store.read(shard.keys[place]))
        except FileNotFoundError:
            gone.add(place)
            return item

    return _ahead(fetch, len(shard.items))


def _ahead(fetch: Callable[[int], Item], count: int) -> Iterator[Item]:
    """``fetch`` of 0 … count - 1, in order, several at once."""
    waiting: deque[Future[Item]] = deque()
    pool = ThreadPoolExecutor(AHEAD // 2, thread_name_prefix="fetch")
    try:
        for place in range(count):
            waiting.append(pool.submit(fetch, place))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
