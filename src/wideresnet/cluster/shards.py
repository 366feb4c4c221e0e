"""Shards, the work units of a bulk job: consecutive images, or consecutive rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wideresnet.cluster.store import Store, open_stored
from wideresnet.datasets.parquet import open_parquet
from wideresnet.errors import ImageError
from wideresnet.images.decode import DEFAULT_LIMITS
from wideresnet.images.loader import map_ahead
from wideresnet.records import EncodedImage, Item

PREFETCH = 32                                      # images of a store that are read ahead


@dataclass(frozen=True)
class Shard:
    """Images in a fixed order, of one of four kinds:

    - local files, images in local files, or decoded images: ``items`` has their sources;
    - files of a store: ``keys`` are their names below ``root``, a URI; the sources of ``items`` are empty;
    - images in ``root``, a file of a store: ``items`` has their sources;
    - ``count`` rows of the Parquet file ``root`` from row ``first`` on.
    """

    number: int
    items: tuple[Item, ...] = ()
    root: str = ""
    keys: tuple[str, ...] = ()
    first: int = 0
    count: int = 0
    sizes: tuple[int, ...] = ()                    # in bytes, of files of a store and of the row groups of ``root``

    def __len__(self) -> int:
        return self.count or len(self.items)


@dataclass
class OpenShard:
    """A shard's images. ``missing``: indices of files that do not exist, complete once ``items`` is exhausted."""

    items: Iterator[Item]
    missing: set[int] = field(default_factory=set)


def open_shard(shard: Shard) -> OpenShard:
    """Return a shard's images in order, those of a store with their bytes. Iterating raises DataError."""
    if shard.count:
        return OpenShard(_read_rows(shard))
    if not shard.root:
        return OpenShard(iter(shard.items))
    opened = OpenShard(iter(()))
    opened.items = _fetch_items(shard, opened.missing)
    return opened


def _read_rows(shard: Shard) -> Iterator[Item]:
    """Yield the images of consecutive rows of a Parquet file, read by row group. Raises DataError."""
    parquet = open_parquet(shard.root, open_stored)
    for group, (start, end) in enumerate(pairwise(parquet.starts)):
        low, high = max(shard.first, start), min(shard.first + shard.count, end)
        if low < high:
            images, rows = parquet.images(group), parquet.rows(group)
            for index in range(low - start, high - start):
                yield Item(rows[index][0], images[index].as_py() or b"")


def _fetch_items(shard: Shard, missing: set[int]) -> Iterator[Item]:
    def fetch(index: int) -> Item:
        item = shard.items[index]
        try:
            if isinstance(item.source, EncodedImage):
                return replace(item, source=item.source.read(DEFAULT_LIMITS.bytes))
            return replace(item, source=Store(shard.root).read(shard.keys[index]))
        except ImageError:
            return item                            # decoding it raises the error again, where failures are reported
        except FileNotFoundError:
            missing.add(index)
            return item

    return map_ahead(fetch, range(len(shard.items)), PREFETCH // 2, PREFETCH, "fetch")
