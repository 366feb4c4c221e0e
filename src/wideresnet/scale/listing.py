"""What bulk work reads: folders, lists of files, Parquet of bytes, by path or URI; cut into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from wideresnet.data.labelled import LabelledData
from wideresnet.data.lookup import ClassLookup
from wideresnet.data.open import open_labelled
from wideresnet.data.text import decode_text
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import PICTURE_ENDINGS, find_pictures
from wideresnet.records import Item, Labels
from wideresnet.scale.parquet import labels_in, open_pictures
from wideresnet.scale.shards import Shard
from wideresnet.scale.store import Store, is_uri, join, split


@dataclass(frozen=True)
class Listing:
    """All shards of a run, numbered from 0, and a hash of what they are made of."""

    shards: tuple[Shard, ...]
    sha256: str

    @property
    def pictures(self) -> int:
        """How many there are."""
        return sum(map(len, self.shards))


def list_pictures(places: Sequence[str], size: int) -> Listing:
    """The pictures at ``places`` in shards of ``size``. A place is, by path or URI:

    a picture or a folder (searched recursively), ``….txt`` (a path or URI a line), or ``….parquet`` (see
    ``scale.parquet``). Raises ConfigError and DataError.
    """
    shards: list[Shard] = []
    digest = hashlib.sha256()
    for place in places:
        for shard in _of_place(place, size):
            shards.append(replace(shard, number=len(shards)))
            digest.update(_identity(shard))
    return _refuse_empty(Listing(tuple(shards), digest.hexdigest()), places)


def list_labelled(place: str, labels: Labels, truth: Path | None, size: int) -> tuple[LabelledData, Listing]:
    """The labelled pictures at ``place`` in shards of ``size``; those of a store have no sources in the first.

    ``place`` is whatever ``data.open`` takes; a URI of class folders; or ``….parquet`` with labels. Raises DataError.
    """
    if not is_uri(place) and not place.endswith(".parquet"):
        data = open_labelled(Path(place), labels, ground_truth=truth)
        return data, Listing(tuple(_cut(list(data.items), size)), data.sha256)
    if truth is not None:
        raise ConfigError(f"--truth is for a folder of this machine, not for {place}")
    listing = list_pictures([place], size)
    lookup = ClassLookup(labels)
    if place.partition("?")[0].endswith(".parquet"):
        found = labels_in(place)
        for label in found:
            if not 0 <= label < lookup.count:
                raise DataError(f"{place} has the label {label}, the network {lookup.count} classes (from 0)")
        items = [Item(f"{place}#{row}", b"", label) for row, label in enumerate(found)]
    else:
        listing = replace(listing, shards=tuple(_with_labels(listing.shards, lookup)))
        items = [item for shard in listing.shards for item in shard.items]
    return LabelledData(place, items, lookup.count), listing


def _of_place(place: str, size: int) -> Iterator[Shard]:
    ending = PurePosixPath(place.partition("?")[0]).suffix.lower()
    if ending == ".parquet":
        yield from _rows(place, size)
    elif ending == ".txt":
        yield from _listed(place, size)
    elif not is_uri(place):
        yield from _cut([Item(str(path), path) for path in find_pictures([Path(place)])], size)
    elif ending in PICTURE_ENDINGS:
        root, name = split(place)
        yield from _cut([Item(place, b"")], size, root, [name])
    else:
        yield from _in_store(place, size)


def _rows(place: str, size: int) -> Iterator[Shard]:
    rows = open_pictures(place).file.metadata.num_rows
    for first in range(0, rows, size):
        yield Shard(0, root=place, first=first, count=min(size, rows - first))


def _in_store(root: str, size: int) -> Iterator[Shard]:
    names = [name for name in Store(root).names() if _is_picture(PurePosixPath(name))]
    yield from _cut([Item(join(root, name), b"") for name in names], size, root, names)


def _is_picture(name: PurePosixPath) -> bool:
    return name.suffix.lower() in PICTURE_ENDINGS and not any(part.startswith(".") for part in name.parts)


def _listed(place: str, size: int) -> Iterator[Shard]:
    """Of a list of files, each line a path, or each a URI of one store."""
    root, name = split(place)
    try:
        text = decode_text(Store(root).read(name), place)
    except FileNotFoundError as error:
        raise ConfigError(f"no file {place!r}", hint="check the spelling and the folder") from error
    lines = [text.raw_name(line) for line in text.content.splitlines() if line.strip()]
    if not any(map(is_uri, lines)):
        yield from _cut([Item(line, Path(line)) for line in lines], size)
        return
    roots = {_bucket(line) for line in lines}
    if len(roots) > 1 or not all(map(is_uri, lines)):
        places = ", ".join(sorted(roots))
        raise DataError(f"{place} names files of several places: {places}", hint="make a list of each")
    (bucket,) = roots
    keys = [line.partition("?")[0].removeprefix(bucket) for line in lines]
    query = lines[0].partition("?")[2]
    yield from _cut([Item(line, b"") for line in lines], size, f"{bucket}?{query}" if query else bucket, keys)


def _bucket(uri: str) -> str:
    """``s3://bucket/`` of ``s3://bucket/a/b.jpg``."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"


def _cut(items: Sequence[Item], size: int, root: str = "", keys: Sequence[str] = ()) -> Iterator[Shard]:
    for number, start in enumerate(range(0, len(items), size)):
        end = start + size
        yield Shard(number, tuple(items[start:end]), root, tuple(keys[start:end]))


def _with_labels(shards: Iterable[Shard], lookup: ClassLookup) -> Iterator[Shard]:
    """Each file of a store with the class that its first folder names."""
    for shard in shards:
        items = []
        for item, key in zip(shard.items, shard.keys, strict=True):
            folder = key.partition("/")[0]
            label = lookup.find(folder) if "/" in key else None
            if label is None:
                raise DataError(
                    f"{item.path}: the folder {folder!r} fits none of the {lookup.count} classes",
                    hint="expected one folder a class, named by class id, name or index",
                )
            items.append(replace(item, label=label))
        yield replace(shard, items=tuple(items))


def _identity(shard: Shard) -> bytes:
    """What a shard is made of: names, and where it lies."""
    names = "\n".join(item.path for item in shard.items)
    return f"{shard.root}\t{shard.first}\t{shard.count}\n{names}\n".encode("utf-8", "surrogateescape")


def _refuse_empty(listing: Listing, places: Sequence[str]) -> Listing:
    if not listing.pictures:
        raise ConfigError(f"no pictures in {', '.join(places)}", hint="folders are searched for .jpg, .png, …")
    return listing
