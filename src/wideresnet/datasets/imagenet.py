"""ILSVRC2012's validation set, in every form it lies about on disks: which image is of which class.

Images are known by the number in their name (``ILSVRC2012_val_00000293.JPEG``), classes by their WordNet id.
The devkit has numbers of its own for classes, 1 to 1000, in another order than the sorted ids; only its
``meta.mat`` translates them, so that ground truth of such numbers is never read without it.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from wideresnet.datasets.ground_truth import NOT_IN_ORDER, read_ground_truth
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.matlab import Value, read_structs
from wideresnet.errors import DataError
from wideresnet.images.files import check_exists, find_images
from wideresnet.pipes import special_kind
from wideresnet.records import Skipped

IMAGES = 50_000
PER_CLASS = 50
META = "meta.mat"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# Numbers whose class is public knowledge, from all over the set: other labels for them are of another order.
KNOWN = {1: 65, 2: 970, 3: 230, 293: 0, 537: 491, 665: 217, 732: 571, 1440: 701, 2314: 574, 3351: 497, 9111: 0}
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?:_(n\d{8}))?")
_WNID = re.compile(r"n\d{8}")
_MOST_BYTES = 64 * 2**20                           # of a file of the devkit


@dataclass(frozen=True, eq=False)
class Source:
    """What one path holds: at least one of the fields is filled."""

    path: Path
    images: bool = False                         # a folder of them
    archive: bool = False                          # a tar archive of them
    meta: bytes = b""                              # the devkit's meta.mat
    truth: str = ""                                # the devkit's class numbers, one a line
    labels: Mapping[int, int] = field(default_factory=dict)   # image number -> class index, by sorted wnid


def open_source(path: Path) -> Source:
    """What lies at ``path``. Raises ConfigError where nothing does, DataError for anything else than the above."""
    check_exists(path)
    if kind := special_kind(path):
        raise DataError(f"{path} is not a regular file: {kind}", hint="write it to a file first")
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".mat":
        return Source(path, meta=path.read_bytes())
    if tarfile.is_tarfile(path):
        return _open_archive(path)
    if path.name == TRUTH:
        return Source(path, truth=path.read_text("ascii", "replace"))
    truth = read_ground_truth(path, read_labels("imagenet"))
    numbered = ((number_of(name), index) for name, index in truth.rows.items())
    labels = {number: index for number, index in numbered if number}
    if not labels:
        raise DataError(f"{path} names no image like ILSVRC2012_val_00000001", hint=_EXPECTED)
    return Source(path, labels=labels)


def number_of(name: str) -> int:
    """1 to 50,000 of an image's name or path, with or without ending; 0 for any other."""
    match = _NAME.fullmatch(PurePosixPath(name.replace("\\", "/")).stem)
    number = int(match[1]) if match else 0
    return number if number <= IMAGES else 0


def wnid_of(path: PurePosixPath) -> str:
    """The WordNet id that an image's own name or its folder says, or an empty string."""
    match = _NAME.fullmatch(path.stem)
    if match and match[2]:
        return match[2]
    return path.parent.name if _WNID.fullmatch(path.parent.name) else ""


@dataclass(frozen=True)
class ValImages:
    """The images of the validation set in some folders by number, ascending, and the other files there."""

    by_number: Mapping[int, Path]
    other_images: Sequence[str]
    skipped: Skipped


def find_val_images(folders: Iterable[Path]) -> ValImages:
    """Find the images of the validation set below ``folders``. Raises DataError for an image that exists twice."""
    by_number: dict[int, Path] = {}
    files, other_images = find_images(folders), dict[str, None]()
    for path in files:
        number = number_of(path.name)
        if not number:
            other_images[str(path)] = None
        elif by_number.setdefault(number, path) != path:
            raise DataError(f"{by_number[number]} and {path} are the same image of the set", hint="remove one of them")
    return ValImages(dict(sorted(by_number.items())), list(other_images), files.skipped)


def all_labels(sources: Iterable[Source], images: Mapping[int, Path]) -> dict[str, Mapping[int, int]]:
    """Labels by the source that says them: image number -> class index, by sorted wnid. Raises DataError."""
    sources = list(sources)
    found = {str(source.path): source.labels for source in sources if source.labels}
    truths = [source for source in sources if source.truth]
    metas = [source for source in sources if source.meta]
    if truths and not metas:
        raise DataError(f"{truths[0].path} comes without {META}", hint=NOT_IN_ORDER)
    for source in truths:
        found[str(source.path)] = devkit_labels(source.truth, metas[0].meta)
    if folders := folder_labels(images):
        found["class folders"] = folders
    if not found:
        what = f"{metas[0].path} holds {META} alone" if metas else "the images come without labels"
        raise DataError(what, hint=_EXPECTED)
    return found


def devkit_labels(truth: str, meta: bytes) -> dict[int, int]:
    """The devkit's two files -> image number -> class index. Raises DataError for others."""
    leaves = [row for row in read_structs(meta, "synsets") if _number(row, "num_children") == 0]
    wnids = {_number(row, "ILSVRC2012_ID"): str(row.get("WNID")) for row in leaves}
    indices = _indices()
    if wnids.keys() != set(range(1, len(indices) + 1)) or set(wnids.values()) != indices.keys():
        raise DataError(f"{META} is not of the 1000 classes of ILSVRC2012", hint=_DEVKIT)
    labels = {}
    for number, line in enumerate(truth.split(), start=1):
        if not line.isdecimal() or int(line) not in wnids:
            raise DataError(f"line {number} of {TRUTH} is {line!r}", hint="expected one number from 1 to 1000 a line")
        labels[number] = indices[wnids[int(line)]]
    return labels


def folder_labels(images: Mapping[int, Path]) -> dict[int, int]:
    """What class folders and names with WordNet ids say. Raises DataError for an id of no class."""
    indices = _indices()
    labels = {}
    for number, path in images.items():
        wnid = wnid_of(PurePosixPath(path))
        if wnid and wnid not in indices:
            raise DataError(f"{path} is labelled {wnid}, which is none of the 1000 classes")
        if wnid:
            labels[number] = indices[wnid]
    return labels


def agreed(found: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """All sources as one. Raises DataError where two differ, or one is in another order than the set's."""
    merged: dict[int, int] = {}
    for name, labels in found.items():
        _check_order(name, labels)
        differing = [number for number, index in labels.items() if merged.setdefault(number, index) != index]
        if differing:
            first = differing[0]
            raise DataError(
                f"the labels disagree on {len(differing):,} images: ILSVRC2012_val_{first:08d} is class"
                f" {labels[first]} by {name}, and {merged[first]} by what was read before",
                hint="give only the source that is right",
            )
    return merged


def check_counts(labels: Mapping[int, int]) -> Counter[int]:
    """Images of each class. Raises DataError where a class has more than the set has of any."""
    counts = Counter(labels.values())
    index, most = max(counts.items(), key=lambda pair: pair[1], default=(0, 0))
    if most > PER_CLASS:
        raise DataError(
            f"class {index} has {most} images, and the set has {PER_CLASS} of each class",
            hint="these labels are not those of ILSVRC2012's validation set",
        )
    return counts


def _indices() -> dict[str, int]:
    return {wnid: index for index, wnid in enumerate(read_labels("imagenet").ids)}


def _number(row: dict[str, Value], field: str) -> int:
    value = row.get(field)
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise DataError(f"a synset of {META} has no number {field}", hint=_DEVKIT)
    return int(value[0])


def _check_order(name: str, labels: Mapping[int, int]) -> None:
    """Raises DataError where images that everybody knows have another class."""
    wrong = [number for number, index in KNOWN.items() if labels.get(number, index) != index]
    if wrong:
        first = wrong[0]
        raise DataError(
            f"{name} is not in the set's order: ILSVRC2012_val_{first:08d} is of class {KNOWN[first]} by the sorted"
            f" WordNet ids, here it is {labels[first]}",
            hint=f"two causes are common: indices that count from 1, and devkit numbers: {NOT_IN_ORDER}",
        )


def _open_folder(path: Path) -> Source:
    """The devkit's folder, the one around it or its ``data``; else a folder of images."""
    for data in (path, path / "data", *path.glob("*devkit*/data")):
        if (data / META).is_file():
            truth = data / TRUTH
            text = truth.read_text("ascii", "replace") if truth.is_file() else ""
            return Source(path, meta=(data / META).read_bytes(), truth=text)
    return Source(path, images=True)


def _open_archive(path: Path) -> Source:
    """Of images by its first file, else the devkit."""
    devkit: dict[str, bytes] = {}
    with open_tar(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if member.isfile() and number_of(name.name):
                return Source(path, archive=True)
            stream = archive.extractfile(member) if member.isfile() and name.name in (META, TRUTH) else None
            if stream is not None and member.size <= _MOST_BYTES:
                devkit[name.name] = stream.read()
            if len(devkit) == 2:
                break
    if not devkit:
        raise DataError(f"{path} holds neither images of the set nor the devkit", hint=_EXPECTED)
    return Source(path, meta=devkit.get(META, b""), truth=devkit.get(TRUTH, b"").decode("ascii", "replace"))


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """An archive to read; what breaks it, also later, is a DataError."""
    try:
        with tarfile.open(path, "r:*") as archive:
            yield archive
    except (tarfile.TarError, EOFError, zlib.error) as error:
        hint = "it may be cut short; fetch it again"
        raise DataError(f"{path} is no whole tar archive: {error}", hint) from error


_DEVKIT = "take it from the devkit of 2012, ILSVRC2012_devkit_t12.tar.gz"
_EXPECTED = (
    "labels come from the devkit (ILSVRC2012_devkit_t12.tar.gz, or its folder), val.txt, LOC_val_solution.csv, a CSV"
    " file path,label, or class folders by WordNet id; images from their folder or ILSVRC2012_img_val.tar"
)
