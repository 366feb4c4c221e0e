"""What bulk work reads: folders, lists of files, Parquet of bytes, by path or URI; cut into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from wideresnet.cluster.shards import Shard
from wideresnet.cluster.store import Store, is_uri, join, open_stored, split
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.layout import held_out, only_ones, roles_of
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.parquet import open_parquet
from wideresnet.datasets.shards import SHARD_ENDINGS, labelled_shard_files
from wideresnet.datasets.tar import TarImages
from wideresnet.datasets.text import decode_text
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import image_endings, no_images_error, sift_names
from wideresnet.pipes import special_kind
from wideresnet.records import Item, Labels, Skipped
from wideresnet.tasks.classify.classify import InputImages


@dataclass(frozen=True)
class Listing:
    """All shards of a run, numbered from 0, and a hash of what they are made of."""

    shards: tuple[Shard, ...]
    sha256: str
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(map(len, self.shards))


def list_images(places: Sequence[str], size: int) -> Listing:
    """The images at ``places`` in shards of ``size``. A place is, by path or URI:

    an image or a folder (searched recursively), ``….txt`` (a path or URI a line), ``….parquet`` or ``….tar`` (see
    ``data.parquet``, ``data.tar``). Raises ConfigError and DataError.
    """
    shards: list[Shard] = []
    digest, skipped = hashlib.sha256(), Skipped()
    for place in places:
        before, passed = len(shards), list[Skipped]()
        for shard in _of_place(place, size, passed):
            shards.append(replace(shard, number=len(shards)))
            digest.update(_identity(shard))
        if len(shards) == before:
            raise no_images_error(place, sum(passed, Skipped()))
        skipped = sum(passed, skipped)
    return Listing(tuple(shards), digest.hexdigest(), skipped)


def list_labelled(place: str, labels: Labels, truth: Path | None, size: int) -> tuple[LabelledData, Listing]:
    """The labelled images at ``place`` in shards of ``size``; those of a store have no sources in the first.

    ``place`` is whatever ``data.open`` takes; a URI of class folders; or of ``….parquet`` or ``….tar`` with labels.
    Raises DataError.
    """
    if not is_uri(place):
        data = open_labelled(Path(place), labels, ground_truth=truth)
        return data, Listing(tuple(_cut(list(data.items), size)), data.sha256, data.skipped)
    if truth is not None:
        raise ConfigError(f"--truth is for a folder of this machine, not for {place}")
    if _ending(place) in SHARD_ENDINGS:
        data = labelled_shard_files(place, [place], labels, open_stored)
        return data, Listing(tuple(_cut(list(data.items), size, place)), data.sha256, data.skipped)
    listing = list_images([place], size)
    lookup = ClassLookup(labels)
    if inner := _inner_folder(place, listing, lookup):
        data, listing = list_labelled(join(place, inner), labels, None, size)
        note = Skipped(notes=(f"took {data.name}",))
        return replace(data, skipped=note + data.skipped), replace(listing, skipped=note + listing.skipped)
    listing = replace(listing, shards=tuple(_with_labels(listing.shards, lookup)))
    items = [item for shard in listing.shards for item in shard.items]
    return LabelledData(place, items, lookup.count, skipped=listing.skipped), listing


def _inner_folder(place: str, listing: Listing, lookup: ClassLookup) -> str:
    """The folder of a store that holds the class folders: a split, or the only one; empty where ``place`` does."""
    keys = [key.split("/") for shard in listing.shards for key in shard.keys]
    names = sorted({folder for folder, *rest in keys if rest})
    if any(lookup.find(name) is not None for name in names):
        return ""
    splits = only_ones(roles_of(names), place)
    if role := held_out({role: join(place, name) for role, name in splits.items()}, place):
        return splits[role]
    return names[0] if len(names) == 1 and all(len(parts) > 2 for parts in keys) else ""


def _of_place(place: str, size: int, passed: list[Skipped]) -> Iterator[Shard]:
    """The shards of one place; what is passed over there is added to ``passed``."""
    ending = _ending(place)
    if ending == ".parquet":
        yield from _rows(place, size)
    elif ending == ".txt":
        yield from _listed(place, size)
    elif not is_uri(place):
        images = InputImages([Path(place)])
        yield from _cut(list(images), size)
        passed.append(images.skipped)
    elif ending == ".tar":
        rows = TarImages(place, open_stored)
        yield from _cut([Item(path, source) for path, source, _ in rows], size, place)
        passed.append(rows.skipped)
    elif ending in image_endings():
        root, name = split(place)
        yield from _cut([Item(place, b"")], size, root, [name])
    else:
        names, others = sift_names(Store(place).names())
        yield from _cut([Item(join(place, name), b"") for name in names], size, place, names)
        passed.append(others)


def _ending(place: str) -> str:
    return PurePosixPath(place.partition("?")[0]).suffix.lower()


def _rows(place: str, size: int) -> Iterator[Shard]:
    rows = open_parquet(place, open_stored).file.metadata.num_rows
    for first in range(0, rows, size):
        yield Shard(0, root=place, first=first, count=min(size, rows - first))


def _listed(place: str, size: int) -> Iterator[Shard]:
    """Of a list of files, each line a path, or each a URI of one store."""
    root, name = split(place)
    if kind := special_kind(Path(place)):
        raise ConfigError(f"{place} is not a regular file: {kind}", hint="write the list to a file first")
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
