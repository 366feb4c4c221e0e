"""Data sets in shards, each a tar archive or Parquet file of images: one shard or a folder of them.

Evaluation parts (``LabelledData.part``) and the shards of a cluster's job (``cluster/shards``) are other things.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import numbered_names
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.parquet import import_pyarrow, open_parquet, parquet_rows
from wideresnet.datasets.tar import ImageRow, Opener, RawLabel, TarImages, index_or_name, open_file, read_labelled_tar
from wideresnet.errors import DataError, ImageError, WrnError
from wideresnet.images.files import check_exists, check_has_images, find_images, image_endings, no_images_error
from wideresnet.images.sniff import first_bytes
from wideresnet.records import EncodedImage, Item, Labels, Skipped

SHARD_ENDINGS = (".parquet", ".tar")
TRAIN, HELD_OUT = "train", ("validation", "test")
# A word that stands alone: "train-00000", "imagenet_val07", but not "trainer".
_SPLIT = re.compile(
    r"(?<![^\W_])(?:(?P<train>train(?:ing)?)|(?P<validation>val(?:id(?:ation)?)?|dev)|(?P<test>test(?:ing)?))(?![^\W\d_])",
    re.IGNORECASE,
)
HIDDEN_LABEL = -1                                  # of the test sets on hubs
_SYNONYMS = 50                                     # one name in fifty may be another word for the same class
_NO_IMAGES = "it holds no images"
_NESTED_HINT = "archives inside an archive are not read: unpack it"


class UnlabelledError(DataError):
    """A data set whose images have no classes."""


class Unreadable(EncodedImage):
    """The image that stands for a source that cannot be read, such as a shard; reading it raises the reason."""

    fingerprint = "-"

    def __init__(self, error: WrnError) -> None:
        self.error = error

    def read(self, limit: int) -> bytes:
        """See ``EncodedImage``."""
        raise ImageError(self.error.message, self.error.hint)


@dataclass(frozen=True)
class ShardFiles:
    """The shards at ``path``, sorted, by split ("" where names do not state one). False where there are none.

    ``skipped`` counts the other files of a folder.
    """

    path: Path
    splits: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)

    def __bool__(self) -> bool:
        return bool(self.splits)

    @property
    def files(self) -> list[str]:
        """The paths of all shards, sorted."""
        return sorted(str(file) for files in self.splits.values() for file in files)


class ShardImages:
    """An iterable of the images in all shards, unlabelled; a shard that cannot be read is one failure among them.

    ``prefixed``: rows of a single Parquet file, too, are named with its path. ``skipped`` counts the other files in the
    archives that were iterated so far and, at the end, in their folder. Raises MissingExtra.
    """

    def __init__(self, shards: ShardFiles, *, prefixed: bool = False) -> None:
        self._shards, self._prefixed, self.skipped = shards, prefixed or len(shards.files) > 1, Skipped()

    def __iter__(self) -> Iterator[Item]:
        self.skipped = Skipped()
        for file in self._shards.files:
            rows = parquet_rows(file, prefixed=self._prefixed) if _is_parquet(file) else TarImages(file)
            empty = True
            try:
                for path, source, _ in rows:
                    yield Item(path, source)
                    empty = False
                if isinstance(rows, TarImages):
                    self.skipped += rows.skipped
                if empty:
                    raise DataError(_NO_IMAGES, hint=_NESTED_HINT)
            except DataError as error:
                yield Item(file, Unreadable(error))
        self.skipped += self._shards.skipped


@dataclass(frozen=True)
class ShardRows:
    """The labelled images of shards, the names of their classes where the shards list them, and the other files."""

    rows: Sequence[ImageRow]
    class_names: tuple[str, ...]
    skipped: Skipped


def find_shards(path: Path) -> ShardFiles:
    """Find the shards at ``path``: a shard file, or the shards below a folder that holds no images.

    The name of a file or of its folders states its split: ``train-00000-of-00014.parquet``, ``validation/0.parquet``.
    """
    if path.is_file():
        ending = path.suffix.lower()
        is_tar = ending == ".tar" or first_bytes(path)[257:262] == b"ustar"
        is_shard = ending not in image_endings() and (is_tar or _is_parquet(str(path)))
        return ShardFiles(path, {"": [path]} if is_shard else {})
    if not path.is_dir():
        return ShardFiles(path)
    splits: defaultdict[str, list[Path]] = defaultdict(list)
    files = find_images([path], SHARD_ENDINGS)
    for file in files:
        if file.suffix.lower() not in SHARD_ENDINGS:
            return ShardFiles(path)                # a folder of images
        if file.is_file():
            match = _SPLIT.search(str(file.relative_to(path)))
            splits[(match.lastgroup or "") if match else ""].append(file)
    return ShardFiles(path, dict(splits), files.skipped)


def check_inputs(paths: Iterable[Path]) -> None:
    """Raise ConfigError for a missing path, and a folder or shards without images; see ``check_parquet_extra``."""
    for path in paths:
        check_exists(path)
        if not (shards := find_shards(path)):
            check_has_images([path])
            continue
        check_parquet_extra([path])
        images = ShardImages(shards)
        if all(isinstance(item.source, Unreadable) and item.source.error.message == _NO_IMAGES for item in images):
            raise no_images_error(str(path), images.skipped)


def check_parquet_extra(paths: Iterable[Path]) -> None:
    """Raise MissingExtra where one of ``paths`` is Parquet and pyarrow is not installed."""
    if any(_is_parquet(file) for path in paths for file in find_shards(path).files):
        import_pyarrow()


def labelled_shards(shards: ShardFiles, labels: Labels, splits: Sequence[str] = HELD_OUT) -> LabelledData:
    """Return the labelled images of one split: the first of ``splits`` that exists, or the only split.

    Raises DataError where it is unclear which split is meant and where the classes are not those of ``labels``, and
    UnlabelledError for images without classes.
    """
    path = shards.path
    split = next((split for split in splits if split in shards.splits), min(shards.splits))
    several = f"{path} holds shards of several splits, {', '.join(name or 'no name' for name in shards.splits)}"
    if split not in splits and len(shards.splits) > 1:
        raise DataError(several, hint="name the files of one of them, or put each into a folder and name one")
    name = f"{path.resolve().name} {split}".strip() if path.is_dir() else path.stem
    data = labelled_shard_files(name, list(map(str, shards.splits[split])), labels)
    notes = [f"{several}: {split} is read"] if len(shards.splits) > 1 else []
    if path.is_dir() and split not in ("", *splits):
        notes.append(f"{path} holds shards of the split {split} alone: {split} is read")
    notes += notes_on_numbers(shards.splits[split])
    return replace(data, skipped=data.skipped + shards.skipped + Skipped(notes=tuple(notes)))


def notes_on_numbers(files: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence where names such as ``00000-of-00002`` show that shards are missing, or exist twice."""
    numbered = [match for file in files if (match := re.search(r"(\d+)-of-(\d+)", file.name))]
    expected, present = max((int(match[2]) for match in numbered), default=0), {int(match[1]) for match in numbered}
    if 0 < len(present) < expected:
        yield f"{expected - len(present)} of {expected} shards are missing beside {files[0]}"
    if len(present) < len(numbered):
        yield f"{len(numbered)} files hold {len(present)} shards: some exist twice beside {files[0]}"


def labelled_shard_files(name: str, files: Sequence[str], labels: Labels, opener: Opener = open_file) -> LabelledData:
    """Return the labelled images of shards, by path or URI.

    Raises DataError for classes that are not those of ``labels``, and UnlabelledError for images without classes.
    """
    shards = read_shards(files, opener)
    rows, names, lookup = shards.rows, shards.class_names, ClassLookup(labels)
    if names and all(name in lookup.ids or name in lookup.names for name in names):
        name_of: dict[RawLabel, str] = dict(enumerate(names))  # the network's classes or some, with own indices
        rows = [(path, source, name_of.get(label)) for path, source, label in rows]
    elif names:
        _check_names(files[0], names, labels)
    elif lookup.numbered:                          # as of a network that was fine-tuned on such shards
        rows = [(path, source, str(label)) for path, source, label in rows]
    return LabelledData(name, indexed_items(files[0], rows, labels), len(labels.names), skipped=shards.skipped)


def read_shards(files: Sequence[str], opener: Opener = open_file) -> ShardRows:
    """Read the images of ``files`` with their classes, each with a unique path.

    Raises DataError, and UnlabelledError where the images of a file have no classes.
    """
    rows, names, skipped = list[ImageRow](), tuple[str, ...](), Skipped()
    for file in files:
        if _is_parquet(file):
            class_names = open_parquet(file, opener).classes
            if rows and class_names != names:
                raise DataError(f"{file} lists other classes than {files[0]}", hint="name the shards of one data set")
            names = class_names
            parquet = parquet_rows(file, opener, prefixed=len(files) > 1)
            rows_of_file = [(path, source, _label_of_column(label, file)) for path, source, label in parquet]
        else:
            rows_of_file, skipped_in_file = read_labelled_tar(file, opener)
            skipped += skipped_in_file
        unlabelled = [index for index, (_, _, label) in enumerate(rows_of_file) if label in (None, HIDDEN_LABEL)]
        if len(unlabelled) == len(rows_of_file):
            raise _unlabelled_error(file, rows_of_file)
        if unlabelled:
            raise DataError(f"row {unlabelled[0]} of {file} has no label", hint="give every row a label")
        if repeated := len(rows_of_file) - len({path for path, _, _ in rows_of_file}):
            raise DataError(f"{repeated:,} images in {file} have names that others have, too", hint="unpack it")
        rows += rows_of_file
    return ShardRows(rows, names, skipped)


def _label_of_column(label: object, file: str) -> RawLabel:
    """Return a label of a Parquet file, see ``index_or_name``. Raises DataError for one of another type."""
    checked = index_or_name(label)
    if checked is None and label is not None:
        problem = f"{file} has the label {label!r}, of the type {type(label).__name__}"
        raise DataError(problem, hint="write the index or the name of the class into the column")
    return checked


def indexed_items(path: str, rows: Iterable[ImageRow], labels: Labels) -> list[Item]:
    """Return items labelled with class indices. Raises DataError for a class of ``path`` that is not in ``labels``."""
    lookup, items = ClassLookup(labels), []
    for name, source, label in rows:
        index = label if isinstance(label, int) else lookup.find(label or "")
        if index is None or not 0 <= index < lookup.count:
            problem = f"{path} has the label {label}, which is none of the {lookup.count} classes"
            raise DataError(problem, hint=f"correct the label of {name}: {lookup.expected}")
        items.append(Item(name, source, index))
    return items


def _unlabelled_error(file: str, rows: Sequence[ImageRow]) -> UnlabelledError:
    if not rows:
        return UnlabelledError(f"{file} holds no images", hint="" if _is_parquet(file) else _NESTED_HINT)
    if _is_parquet(file):
        problem = "no column 'label'" if rows[0][2] is None else "-1 for every label"
        hint = "it holds the index of each image's class; test sets on hubs often hide it"
        return UnlabelledError(f"{file} has {problem}", hint=hint)
    hint = "expected key.jpg and key.cls (or key.json with a label), or one folder a class: unpack it into such folders"
    roots = sorted({str(PurePosixPath(path.removeprefix(f"{file}/")).parent.parent) for path, _, _ in rows})
    if len(roots) > 1:
        hint = f"their folders are in {', '.join(roots[:3])}: unpack it, and give one of these"
    elif "ILSVRC2012_val_" in rows[0][0]:
        hint = f"the devkit has them: wrn data imagenet {file} ILSVRC2012_devkit_t12.tar.gz --extract val/ -o val.csv"
    return UnlabelledError(f"the images in the tar archive {file} have no classes", hint)


def _check_names(path: str, names: Sequence[str], labels: Labels) -> None:
    """Raise DataError where the classes of a Parquet file are not those of the network, in its order."""
    if len(names) != len(labels.names):
        problem = f"{path} has {len(names)} classes, the network {len(labels.names)}"
        raise DataError(problem, hint="evaluate a network of these classes, or make class folders of the images")
    synonyms = [{id_, *_synonyms(name)} for id_, name in zip(labels.ids or labels.names, labels.names, strict=True)]
    different = [index for index, name in enumerate(names) if synonyms[index].isdisjoint({name, *_synonyms(name)})]
    unnamed = labels.names == numbered_names(len(names))
    if len(different) <= len(names) // _SYNONYMS:
        words = set().union(*synonyms)             # of all classes: no other word for this one, but another class
        different = [index for index in different if not words.isdisjoint(_synonyms(names[index]))]
    if different and not unnamed:
        first = different[0]
        raise DataError(
            f"the classes of {path} are others, or in another order: {first} is {names[first]!r},"
            f" in the network {labels.names[first]!r}",
            hint="evaluate a network of these classes in this order",
        )


def _synonyms(name: str) -> set[str]:
    """Return the words for a class in a name like "tench, Tinca tinca", in one spelling."""
    return {re.sub(r"[\W_]+", " ", word).strip().casefold() for word in name.split(",")}


def _is_parquet(file: str) -> bool:
    """Decide by the name, which may be a URI with a query, or by the first bytes."""
    return file.partition("?")[0].lower().endswith(".parquet") or first_bytes(Path(file))[:4] == b"PAR1"
