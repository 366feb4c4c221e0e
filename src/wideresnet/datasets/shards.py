"""Data sets in shards: tar archives and Parquet files, one of them or a folder."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.parquet import import_pyarrow, open_parquet, parquet_rows
from wideresnet.datasets.tar import Label, Opener, Row, labelled_tar, open_file, tar_images
from wideresnet.errors import DataError, ImageError
from wideresnet.images.files import find_images, image_endings, refuse_empty, refuse_missing
from wideresnet.images.sniff import first_bytes
from wideresnet.records import EncodedImage, Item, Labels, Skipped

Shards = dict[str, list[Path]]                     # files by split, "" where their names say none

ENDINGS = (".parquet", ".tar")
TRAIN, HELD_OUT = "train", ("validation", "test")
# A word that stands alone: "train-00000", "imagenet_val07", but not "trainer".
_SPLIT = re.compile(
    r"(?<![^\W_])(?:(?P<train>train(?:ing)?)|(?P<validation>val(?:id(?:ation)?)?|dev)|(?P<test>test(?:ing)?))(?![^\W\d_])",
    re.IGNORECASE,
)
SECRET = -1                                        # the label of hubs' test sets
_SYNONYMS = 50                                     # one name in so many may be another word for the same class
_INSIDE = "archives inside an archive are not read: unpack it"


class UnlabelledError(DataError):
    """A data set whose images have no classes."""


class Unreadable(EncodedImage):
    """An image of which nothing can be read, and the reason."""

    fingerprint = "-"

    def __init__(self, error: DataError) -> None:
        self.error = error

    def read(self, limit: int) -> bytes:
        """See ``EncodedImage``."""
        raise ImageError(self.error.message, self.error.hint)


def find_shards(path: Path) -> Shards:
    """Shards at ``path`` by split, sorted: a file, or the files below a folder without images; {} for anything else.

    The name of a file or of its folders says its split: ``train-00000-of-00014.parquet``, ``validation/0000.parquet``.
    """
    if path.suffix.lower() in image_endings():
        return {}
    if path.is_file():
        return {"": [path]} if path.suffix.lower() == ".tar" or _is_parquet(str(path)) or _is_tar(path) else {}
    if not path.is_dir() or next(iter(find_images([path])), None) is not None:
        return {}
    shards: defaultdict[str, list[Path]] = defaultdict(list)
    for file in sorted(file for file in path.rglob("*") if file.suffix.lower() in ENDINGS):
        inside = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            word = _SPLIT.search(str(inside))
            shards[(word.lastgroup or "") if word else ""].append(file)
    return dict(shards)


def shard_items(shards: Shards, passed: list[Skipped] | None = None) -> Iterator[Item]:
    """Every image of all shards, unlabelled; a shard that cannot be read is one failure among them.

    What tar archives hold besides is added to ``passed``. Raises MissingExtra.
    """
    files = sorted(str(file) for split in shards.values() for file in split)
    for file in files:
        rows = parquet_rows(file, prefixed=len(files) > 1) if _is_parquet(file) else tar_images(file, passed=passed)
        empty = True
        try:
            for path, source, _ in rows:
                yield Item(path, source)
                empty = False
            if empty:
                raise DataError("it holds no images", hint=_INSIDE)
        except DataError as error:
            yield Item(file, Unreadable(error))


def check_inputs(paths: Iterable[Path]) -> None:
    """Raise ConfigError for a path that does not exist or a folder without images, and as ``refuse_missing_extra``."""
    for path in paths:
        refuse_missing(path)
        refuse_missing_extra([path])
        if not find_shards(path):
            refuse_empty([path])


def refuse_missing_extra(paths: Iterable[Path]) -> None:
    """Raise MissingExtra where one of ``paths`` is Parquet and cannot be read here."""
    if any(_is_parquet(str(file)) for path in paths for files in find_shards(path).values() for file in files):
        import_pyarrow()


def labelled_shards(path: Path, labels: Labels, splits: Sequence[str] = HELD_OUT) -> LabelledData:
    """The labelled images of one split: the first of ``splits`` that is there, or the only one there is.

    Raises DataError where it is not clear which split is meant, for classes that are not those of ``labels``, and for
    images that have none.
    """
    shards = find_shards(path)
    split = next((split for split in splits if split in shards), min(shards))
    several = f"{path} holds shards of several splits, {', '.join(name or 'no name' for name in shards)}"
    if split not in splits and len(shards) > 1:
        raise DataError(several, hint="name the files of one of them, or put each into a folder and name one")
    name = f"{path.resolve().name} {split}".strip() if path.is_dir() else path.stem
    data = labelled_files(name, list(map(str, shards[split])), labels)
    notes = [f"{several}: {split} is read"] if len(shards) > 1 else []
    if path.is_dir() and split not in ("", *splits):
        notes.append(f"{path} holds shards of the split {split} alone: {split} is read")
    return replace(data, skipped=data.skipped + beside_shards(path) + Skipped(notes=(*notes, *_absent(shards[split]))))


def beside_shards(path: Path) -> Skipped:
    """What a folder of shards holds besides them."""
    files = find_images([path])
    deque(files, maxlen=0)
    skipped = files.skipped
    return replace(skipped, by_ending={key: n for key, n in skipped.by_ending.items() if key not in ENDINGS})


def _absent(files: Sequence[Path]) -> Iterator[str]:
    """A sentence where names such as ``00000-of-00002`` say that shards are missing, or are there twice."""
    numbered = [match for file in files if (match := re.search(r"(\d+)-of-(\d+)", file.name))]
    expected, present = max((int(match[2]) for match in numbered), default=0), {int(match[1]) for match in numbered}
    if 0 < len(present) < expected:
        yield f"{expected - len(present)} of {expected} shards are missing beside {files[0]}"
    if len(present) < len(numbered):
        yield f"{len(numbered)} files hold {len(present)} shards: some are there twice beside {files[0]}"


def labelled_files(name: str, files: Sequence[str], labels: Labels, opener: Opener = open_file) -> LabelledData:
    """The labelled images of shards. Raises DataError for classes that are not those of ``labels``, and for none."""
    rows, names, skipped = read_rows(files, opener)
    lookup = ClassLookup(labels)
    if 0 < len(names) < lookup.count and all(name in lookup.ids or name in lookup.names for name in names):
        named: dict[Label, str] = dict(enumerate(names))       # a subset of the network's classes, counted anew
        rows = [(path, source, named.get(label)) for path, source, label in rows]
    elif names:
        _check_names(files[0], names, labels)
    return LabelledData(name, labelled_items(files[0], rows, labels), len(labels.names), skipped=skipped)


def read_rows(files: Sequence[str], opener: Opener = open_file) -> tuple[list[Row], tuple[str, ...], Skipped]:
    """Every image of ``files`` with its class and a path that no other has; the names of the classes, where one says.

    The third value is what tar archives hold besides. Raises DataError, and UnlabelledError where the images of a file
    have no classes.
    """
    rows, names, passed = list[Row](), tuple[str, ...](), list[Skipped]()
    for file in files:
        if _is_parquet(file):
            classes = open_parquet(file, opener).classes
            if rows and classes != names:
                raise DataError(f"{file} lists other classes than {files[0]}", hint="name the shards of one data set")
            names = classes
            more = list(parquet_rows(file, opener, prefixed=len(files) > 1))
        else:
            more = labelled_tar(file, opener, passed)
        bare = [number for number, (_, _, label) in enumerate(more) if label in (None, SECRET)]
        if len(bare) == len(more):
            raise _unlabelled(file, more)
        if bare:
            raise DataError(f"row {bare[0]} of {file} has no label", hint="every row needs one")
        if repeated := len(more) - len({path for path, _, _ in more}):
            raise DataError(f"{repeated:,} images in {file} have names that others have, too", hint="unpack it")
        rows += more
    return rows, names, sum(passed, Skipped())


def labelled_items(path: str, rows: Iterable[Row], labels: Labels) -> list[Item]:
    """Images with the index of their class. Raises DataError for a class that is none of ``labels``."""
    lookup, items = ClassLookup(labels), []
    for name, source, label in rows:
        index = label if isinstance(label, int) else lookup.find(label or "")
        if index is None or not 0 <= index < lookup.count:
            raise DataError(
                f"{path} has the label {label}, the network {lookup.count} classes (from 0)",
                hint=f"it is that of {name}",
            )
        items.append(Item(name, source, index))
    return items


def _unlabelled(file: str, rows: Sequence[Row]) -> UnlabelledError:
    if not rows:
        return UnlabelledError(f"{file} holds no images", hint=_INSIDE)
    if _is_parquet(file):
        problem = "no column 'label'" if rows[0][2] is None else "-1 for every label"
        hint = "it holds the index of each image's class; hubs' test sets often hide it"
        return UnlabelledError(f"{file} has {problem}", hint=hint)
    hint = "expected key.jpg and key.cls (or key.json with a label), or one folder a class: unpack it into such folders"
    roots = sorted({str(PurePosixPath(path.removeprefix(f"{file}/")).parent.parent) for path, _, _ in rows})
    if len(roots) > 1:
        hint = f"their folders lie in {', '.join(roots[:3])}: unpack it, and give one of these"
    elif "ILSVRC2012_val_" in rows[0][0]:
        hint = f"the devkit says them: wrn data imagenet {file} ILSVRC2012_devkit_t12.tar.gz --extract val/ -o val.csv"
    return UnlabelledError(f"the images in the tar archive {file} have no classes", hint)


def _check_names(path: str, names: Sequence[str], labels: Labels) -> None:
    """Raise DataError where the classes of a Parquet file are not those of the network, in its order."""
    if len(names) != len(labels.names):
        raise DataError(
            f"{path} has {len(names)} classes, the network {len(labels.names)}",
            hint="evaluate a network of these classes, or make class folders of the images",
        )
    ours = [{id_, *_words(name)} for id_, name in zip(labels.ids or labels.names, labels.names, strict=True)]
    different = [index for index, name in enumerate(names) if ours[index].isdisjoint({name, *_words(name)})]
    unnamed = labels.names == tuple(f"class {index}" for index in range(len(names)))
    if len(different) > len(names) // _SYNONYMS and not unnamed:
        first = different[0]
        raise DataError(
            f"the classes of {path} are others, or in another order: {first} is {names[first]!r},"
            f" in the network {labels.names[first]!r}",
            hint="evaluate a network of these classes in this order",
        )


def _words(name: str) -> set[str]:
    """The words for a class in a name like "tench, Tinca tinca", in one spelling."""
    return {re.sub(r"[\W_]+", " ", word).strip().casefold() for word in name.split(",")}


def _is_parquet(file: str) -> bool:
    """By its name, be it a URI with a query, or its first bytes."""
    return file.partition("?")[0].lower().endswith(".parquet") or first_bytes(Path(file))[:4] == b"PAR1"


def _is_tar(file: Path) -> bool:
    return first_bytes(file)[257:262] == b"ustar"
