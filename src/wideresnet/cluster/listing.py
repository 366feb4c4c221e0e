"""Inputs of bulk jobs, by path or URI: images, folders, lists of files, Parquet and tar files; cut into shards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from wideresnet.cluster.shards import Shard
from wideresnet.cluster.store import Store, is_uri, join_location, open_stored, split_location
from wideresnet.datasets.labelled import LabelledData, fingerprint
from wideresnet.datasets.layout import evaluation_role, roles_of, single_folders
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.parquet import open_parquet
from wideresnet.datasets.shards import SHARD_ENDINGS, check_inputs, labelled_shard_files
from wideresnet.datasets.tar import TarImages
from wideresnet.datasets.text import decode_text
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.files import image_endings, no_images_error, sift_names
from wideresnet.pipes import special_kind
from wideresnet.records import Item, Labels, Skipped
from wideresnet.tasks.classify.sources import InputImages


@dataclass(frozen=True)
class Listing:
    """All shards of a run, numbered from 0, and the hash of their inputs."""

    shards: tuple[Shard, ...]
    sha256: str
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(map(len, self.shards))


def list_images(locations: Sequence[str], size: int) -> Listing:
    """Return the images at ``locations``, paths or URIs, in shards of ``size``.

    A location is an image, a folder (searched recursively), ``….txt`` (a path or URI per line), ``….parquet`` or
    ``….tar`` (see ``datasets.parquet``, ``datasets.tar``). Raises ConfigError and DataError.
    """
    shards: list[Shard] = []
    digest, skipped = hashlib.sha256(), Skipped()
    for location in locations:
        before, skips = len(shards), list[Skipped]()
        for shard in _list_location(location, size, skips):
            shards.append(replace(shard, number=len(shards)))
            digest.update(_hash_input(shard))
        if len(shards) == before:
            raise no_images_error(location, sum(skips, Skipped()))
        skipped = sum(skips, skipped)
    return Listing(tuple(shards), digest.hexdigest(), skipped)


def list_labelled(location: str, labels: Labels, labels_file: Path | None, size: int) -> tuple[LabelledData, Listing]:
    """Return the labelled images at ``location`` as one data set, and in shards of ``size``.

    ``location`` is a path that ``datasets.open`` takes, or the URI of class folders, ``….parquet`` or ``….tar``. The
    items of a URI of class folders have no sources in the data set. Raises ConfigError and DataError.
    """
    if not is_uri(location):
        data = open_labelled(Path(location), labels, ground_truth=labels_file)
        return data, Listing(tuple(_cut(list(data.items), size)), data.sha256, data.skipped)
    if labels_file is not None:
        raise ConfigError(f"--labels-file needs a local folder, got {location}")
    if _suffix(location) in SHARD_ENDINGS:
        data = labelled_shard_files(location, [location], labels, open_stored)
        return data, Listing(tuple(_cut(list(data.items), size, location)), data.sha256, data.skipped)
    listing = list_images([location], size)
    lookup = ClassLookup(labels)
    if inner := _inner_folder(location, listing, lookup):
        data, listing = list_labelled(join_location(location, inner), labels, None, size)
        note = Skipped(notes=(f"took {data.name}",))
        return replace(data, skipped=note + data.skipped), replace(listing, skipped=note + listing.skipped)
    listing = replace(listing, shards=tuple(_with_labels(listing.shards, lookup)))
    items = [item for shard in listing.shards for item in shard.items]
    return LabelledData(location, items, lookup.count, skipped=listing.skipped), listing


def _inner_folder(location: str, listing: Listing, lookup: ClassLookup) -> str:
    """Return the folder that holds the class folders: a split, the only folder, or "" for ``location`` itself."""
    keys = [key.split("/") for shard in listing.shards for key in shard.keys]
    names = sorted({folder for folder, *below in keys if below})
    if any(lookup.find(name) is not None for name in names):
        return ""
    splits = single_folders(roles_of(names), location)
    if role := evaluation_role({role: join_location(location, name) for role, name in splits.items()}, location):
        return splits[role]
    return names[0] if len(names) == 1 and all(len(parts) > 2 for parts in keys) else ""


def _list_location(location: str, size: int, skips: list[Skipped]) -> Iterator[Shard]:
    """Yield the shards of one location; skipped files are added to ``skips``."""
    suffix = _suffix(location)
    if suffix == ".parquet":
        file = open_parquet(location, open_stored).file.metadata
        sizes = tuple(file.row_group(group).total_byte_size for group in range(file.num_row_groups))
        for first in range(0, file.num_rows, size):
            yield Shard(0, root=location, first=first, count=min(size, file.num_rows - first), sizes=sizes)
    elif suffix == ".txt":
        yield from _read_list(location, size)
    elif not is_uri(location):
        check_inputs([Path(location)])
        images = InputImages([Path(location)])
        yield from _cut(list(images), size)
        skips.append(images.skipped)
    elif suffix == ".tar":
        entries = TarImages(location, open_stored)
        yield from _cut([Item(path, source) for path, source, _ in entries], size, location)
        skips.append(entries.skipped)
    elif suffix in image_endings():
        root, name = split_location(location)
        yield from _cut([Item(location, b"")], size, root, [name])
    else:
        size_of = Store(location).sizes()
        names, skipped = sift_names(size_of)
        items = [Item(join_location(location, name), b"") for name in names]
        for shard in _cut(items, size, location, names):
            yield replace(shard, sizes=tuple(size_of[name] for name in shard.keys))
        skips.append(skipped)


def _suffix(location: str) -> str:
    return PurePosixPath(location.partition("?")[0]).suffix.lower()


def _read_list(location: str, size: int) -> Iterator[Shard]:
    """Yield the shards of a list of files: a path per line, or a URI of one store per line."""
    root, name = split_location(location)
    if kind := special_kind(Path(location)):
        raise ConfigError(f"{location} is not a regular file: {kind}", hint="write the list to a file first")
    try:
        text = decode_text(Store(root).read(name), location)
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {location!r}", hint="check the spelling and the folder") from error
    lines = [text.raw_name(line) for line in text.content.splitlines() if line.strip()]
    if not any(map(is_uri, lines)):
        yield from _cut([Item(line, Path(line)) for line in lines], size)
        return
    buckets = {_bucket(line) for line in lines}
    if len(buckets) > 1 or not all(map(is_uri, lines)):
        stores = ", ".join(sorted(buckets))
        raise DataError(f"{location} lists files of several stores: {stores}", hint="write a list for each store")
    (bucket,) = buckets
    keys = [line.partition("?")[0].removeprefix(bucket.partition("?")[0]) for line in lines]
    yield from _cut([Item(line, b"") for line in lines], size, bucket, keys)


def _bucket(uri: str) -> str:
    """Return ``s3://bucket/`` of ``s3://bucket/a/b.jpg``; a query, which may name another host, stays at the end."""
    path, _, query = uri.partition("?")
    scheme, _, path = path.partition("://")
    return f"{scheme}://{path.partition('/')[0]}/{f'?{query}' if query else ''}"


def _cut(items: Sequence[Item], size: int, root: str = "", keys: Sequence[str] = ()) -> Iterator[Shard]:
    for number, start in enumerate(range(0, len(items), size)):
        end = start + size
        yield Shard(number, tuple(items[start:end]), root, tuple(keys[start:end]))


def _with_labels(shards: Iterable[Shard], lookup: ClassLookup) -> Iterator[Shard]:
    """Yield the shards with each item labelled by the first folder of its key. Raises DataError."""
    for shard in shards:
        items = []
        for item, key in zip(shard.items, shard.keys, strict=True):
            folder = key.partition("/")[0]
            label = lookup.find(folder) if "/" in key else None
            if label is None:
                problem = f"{item.path}: the folder {folder!r} fits none of the {lookup.count} classes"
                raise DataError(problem, hint="expected one folder per class, named by class id, name or index")
            items.append(replace(item, label=label))
        yield replace(shard, items=tuple(items))


def _hash_input(shard: Shard) -> bytes:
    """Return the bytes that identify a shard's inputs: location, names and sizes; of a list of URIs no sizes."""
    head = f"{shard.root}\t{shard.first}\t{shard.count}\t{shard.sizes}".encode("utf-8", "surrogateescape")
    names = (item.path.encode("utf-8", "surrogateescape") + b"\t" + fingerprint(item) for item in shard.items)
    return b"\n".join((head, *names, b""))
