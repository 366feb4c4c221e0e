"""What bulk work is cut into: consecutive images by file, or consecutive rows of a Parquet file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wideresnet.cluster.store import Store, open_stored
from wideresnet.datasets.parquet import open_parquet
from wideresnet.errors import ImageError
from wideresnet.images.decode import DEFAULT_LIMITS
from wideresnet.records import EncodedImage, Item

AHEAD = 32                                         # images of a store in memory before their turn


@dataclass(frozen=True)
class Shard:
    """So many images, in order. Four kinds:

    - local files, images in local files, or decoded images: ``items`` says all;
    - files of a store: ``keys`` are theirs below ``root``, a URI; the sources of ``items`` are empty;
    - images in ``root``, a file of a store: the sources of ``items`` say where;
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
    """A shard's images. ``gone`` are the places of those that are not there, known once they were read."""

    items: Iterator[Item]
    gone: set[int] = field(default_factory=set)


def open_shard(shard: Shard) -> Opened:
    """Its images, in order, each read from its store when its turn is near. Raises DataError while they are read."""
    if shard.count:
        return Opened(_rows(shard))
    if not shard.root:
        return Opened(iter(shard.items))
    opened = Opened(iter(()))
    opened.items = _fetched(shard, opened.gone)
    return opened


def _rows(shard: Shard) -> Iterator[Item]:
    """The images of consecutive rows of a Parquet file, a group of rows at a time. Raises DataError."""
    opened = open_parquet(shard.root, open_stored)
    for group, (start, end) in enumerate(pairwise(opened.starts)):
        low, high = max(shard.first, start), min(shard.first + shard.count, end)
        if low < high:
            images, rows = opened.images(group), opened.rows(group)
            for index in range(low - start, high - start):
                yield Item(rows[index][0], images[index].as_py() or b"")


def _fetched(shard: Shard, gone: set[int]) -> Iterator[Item]:
    def fetch(place: int) -> Item:
        item = shard.items[place]
        try:
            if isinstance(item.source, EncodedImage):
                return replace(item, source=item.source.read(DEFAULT_LIMITS.bytes))
            return replace(item, source=Store(shard.root).read(shard.keys[place]))
        except ImageError:
            return item                            # fails again where failures are reported
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
