"""Copies of images, by the bytes of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from wideresnet.datasets.labelled import LabelledData, fingerprint
from wideresnet.datasets.parquet import ParquetRow
from wideresnet.errors import ImageError
from wideresnet.images.decode import DEFAULT_LIMITS, read_encoded
from wideresnet.records import EncodedImage, Item

MAX_BYTES = 2**22                                  # of a file that may wait in memory; larger ones are read again
MAX_COMPARED = 1_000                               # images of a set whose bytes are compared with those of another one


def notes_on_shared(*sets: LabelledData) -> Iterator[str]:
    """Yield a sentence for each two of ``sets`` that share images: links, or copies of equal bytes.

    Accuracy on a set that shares images with the training set is too high. Of a large set ``MAX_COMPARED`` images at
    equal distances are compared: an image of ImageNet shares its size with some of a million others, which are read.
    """
    for first, second in combinations(sets, 2):
        compared = second.items[:: -(-len(second.items) // MAX_COMPARED) or 1]
        if count := count_shared(first.items, compared):
            part = "" if len(compared) == len(second.items) else f" of {len(compared):,} that were compared"
            both = f"in {first.name} and in {second.name}"
            yield f"{count:,} images{part} are {both}, so that the figure on {second.name} is too optimistic"


def count_shared(first: Sequence[Item], second: Sequence[Item]) -> int:
    """Return the number of images of ``second`` that ``first`` has too, by content; only equal sizes are read."""
    ours, theirs = ([(_size(item), item) for item in items] for items in (first, second))
    sizes = {size for size, _ in ours} & {size for size, _ in theirs} - {b"0"}
    hashes = {_content(item) for size, item in ours if size in sizes} - {b""}
    return sum(size in sizes and _content(item) in hashes for size, item in theirs)


def sample_hash(items: Sequence[Item]) -> str:
    """Return a hash of the bytes of some images at equal distances: many cameras write files of one size."""
    sample = items[:: 1 + len(items) // MAX_COMPARED]
    return hashlib.sha256(b"".join(with_hash(item)[0] for item in sample)).hexdigest()[:16]


def _size(item: Item) -> bytes:
    """Return the fingerprint; of a row of a Parquet file, which has that of its row group, the size of the image."""
    if not isinstance(item.source, ParquetRow):
        return fingerprint(item)
    with suppress(ImageError):
        return str(len(item.source.read(DEFAULT_LIMITS.bytes))).encode()
    return b"-"


def _content(item: Item) -> bytes:
    """Return what only equal images share; empty for a file that cannot be read."""
    return fingerprint(item) if isinstance(item.source, np.ndarray) else with_hash(item)[0]


def with_hash(item: Item) -> tuple[bytes, Item]:
    """Return a hash of the file's bytes, and the item with these bytes, read once. No file: an empty hash."""
    try:
        if isinstance(item.source, EncodedImage):
            data = item.source.read(DEFAULT_LIMITS.bytes)
        elif isinstance(item.source, Path) and item.source.is_file():
            data = read_encoded(item.source)
        elif isinstance(item.source, bytes):
            data = item.source
        else:
            return b"", item
    except ImageError:
        return b"", item                           # fails again where failures are reported
    return hashlib.blake2b(data, digest_size=16).digest(), item if len(data) > MAX_BYTES else replace(item, source=data)
