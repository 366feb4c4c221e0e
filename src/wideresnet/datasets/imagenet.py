"""ILSVRC2012's validation set: its images and their classes, from any of the forms it is distributed in.

Images are identified by the number in their name (``ILSVRC2012_val_00000293.JPEG``), classes by their WordNet id. The
devkit numbers the classes 1 to 1000 in another order than that of the sorted ids; only its ``meta.mat`` translates
these numbers, so that ground truth in them is never read without it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from wideresnet.datasets.ground_truth import NOT_IN_ORDER, read_ground_truth
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.lookup import WNID
from wideresnet.datasets.matlab import Value, read_structs
from wideresnet.datasets.tar import open_tar
from wideresnet.errors import DataError
from wideresnet.images.files import check_exists, find_images
from wideresnet.images.sniff import first_bytes
from wideresnet.pipes import check_regular
from wideresnet.records import Skipped

IMAGES = 50_000
PER_CLASS = 50
META = "meta.mat"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# Images from all over the set with their published classes: labels in another order differ from these.
REFERENCE_LABELS = {
    1: 65, 2: 970, 3: 230, 293: 0, 537: 491, 665: 217, 732: 571, 1440: 701, 2314: 574, 3351: 497, 9111: 0,
}  # fmt: skip
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?:_(n\d{8}))?")
_MAX_BYTES = 64 * 2**20                           # of a file of the devkit


@dataclass(frozen=True, eq=False)
class Source:
    """The content of one path: at least one of the fields is set."""

    path: Path
    images: bool = False                           # a folder of them
    archive: bool = False                          # a tar archive of them
    meta: bytes = b""                              # the devkit's meta.mat
    truth: str = ""                                # the devkit's class numbers, one a line
    labels: Mapping[int, int] = field(default_factory=dict)   # image number -> class index, by sorted wnid


def open_source(path: Path) -> Source:
    """Read the source ``path``. Raises ConfigError for a missing path, DataError for any other file."""
    check_exists(path)
    check_regular(path, DataError, hint="write it to a file first")
    if path.is_dir():
        return _open_folder(path)
    if path.suffix == ".mat":
        return Source(path, meta=path.read_bytes())
    if ".tar" in path.suffixes or path.suffix == ".tgz" or first_bytes(path)[257:262] == b"ustar":
        return _open_archive(path)
    if path.name == TRUTH:
        return Source(path, truth=path.read_text("ascii", "replace"))
    truth = read_ground_truth(path, read_labels("imagenet"))
    numbered = ((number_of(name), index) for name, index in truth.rows.items())
    labels = {number: index for number, index in numbered if number}
    if not labels:
        raise DataError(f"{path} lists no image such as ILSVRC2012_val_00000001", hint=_EXPECTED_SOURCES)
    return Source(path, labels=labels)


def number_of(name: str) -> int:
    """Return the number, 1 to 50,000, in the name or path of an image with or without ending; 0 for any other."""
    match = _NAME.fullmatch(PurePosixPath(name.replace("\\", "/")).stem)
    number = int(match[1]) if match else 0
    return number if number <= IMAGES else 0


def wnid_of(path: PurePosixPath) -> str:
    """Return the WordNet id in the name of an image or of its folder, or an empty string."""
    match = _NAME.fullmatch(path.stem)
    if match and match[2]:
        return match[2]
    return path.parent.name if WNID.fullmatch(path.parent.name) else ""


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
    """Return labels (image number -> class index, by sorted wnid) by their source. Raises DataError."""
    sources = list(sources)
    labels = {str(source.path): source.labels for source in sources if source.labels}
    truths = [source for source in sources if source.truth]
    metas = [source for source in sources if source.meta]
    if truths and not metas:
        raise DataError(f"{truths[0].path} comes without {META}", hint=NOT_IN_ORDER)
    for source in truths:
        labels[str(source.path)] = devkit_labels(source.truth, metas[0].meta)
    if folders := folder_labels(images):
        labels["class folders"] = folders
    if not labels:
        problem = f"{metas[0].path} holds {META} only" if metas else "the images come without labels"
        raise DataError(problem, hint=_EXPECTED_SOURCES)
    return labels


def devkit_labels(truth: str, meta: bytes) -> dict[int, int]:
    """Return class indices by image number from the devkit's two files. Raises DataError for other files."""
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
    """Return labels from class folders and from names with WordNet ids. Raises DataError for an id of no class."""
    indices = _indices()
    labels = {}
    for number, path in images.items():
        wnid = wnid_of(PurePosixPath(path))
        if wnid and wnid not in indices:
            raise DataError(f"{path} is labelled {wnid}, which is none of the 1000 classes")
        if wnid:
            labels[number] = indices[wnid]
    return labels


def merge_labels(labels_by_source: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """Merge the labels of all sources. Raises DataError where two differ, or one is in another order than the set's."""
    merged: dict[int, int] = {}
    for name, labels in labels_by_source.items():
        _check_order(name, labels)
        differing = [number for number, index in labels.items() if merged.setdefault(number, index) != index]
        if differing:
            first = differing[0]
            raise DataError(
                f"the labels disagree on {len(differing):,} images: ILSVRC2012_val_{first:08d} is class"
                f" {labels[first]} in {name}, and {merged[first]} in the sources before",
                hint="give only the source that is right",
            )
    return merged


def check_counts(labels: Mapping[int, int]) -> Counter[int]:
    """Count the images of each class. Raises DataError where a class has more than ``PER_CLASS``."""
    counts = Counter(labels.values())
    index, count = max(counts.items(), key=lambda pair: pair[1], default=(0, 0))
    if count > PER_CLASS:
        problem = f"class {index} has {count} images, and the set has {PER_CLASS} of each class"
        raise DataError(problem, hint="give the labels of ILSVRC2012's validation set")
    return counts


def _indices() -> dict[str, int]:
    return {wnid: index for index, wnid in enumerate(read_labels("imagenet").ids)}


def _number(row: dict[str, Value], field: str) -> int:
    value = row.get(field)
    if not isinstance(value, np.ndarray) or value.size != 1 or not np.isfinite(value).all():
        raise DataError(f"a synset of {META} has no number {field}", hint=_DEVKIT)
    return int(value[0])


def _check_order(name: str, labels: Mapping[int, int]) -> None:
    """Raise DataError where an image of ``REFERENCE_LABELS`` has another class."""
    wrong = [number for number, index in REFERENCE_LABELS.items() if labels.get(number, index) != index]
    if wrong:
        first = wrong[0]
        raise DataError(
            f"{name} is not in the set's order: ILSVRC2012_val_{first:08d} is of class {REFERENCE_LABELS[first]} by the"
            f" sorted WordNet ids, here it is {labels[first]}",
            hint=f"two causes are common: indices that count from 1, and devkit numbers: {NOT_IN_ORDER}",
        )


def _open_folder(path: Path) -> Source:
    """Read the devkit's folder, the folder around it or its ``data``; any other is a folder of images."""
    for data in (path, path / "data", *path.glob("*devkit*/data")):
        if (data / META).is_file():
            truth = data / TRUTH
            text = truth.read_text("ascii", "replace") if truth.is_file() else ""
            return Source(path, meta=(data / META).read_bytes(), truth=text)
    return Source(path, images=True)


def _open_archive(path: Path) -> Source:
    """Return an archive of images where one is in it, else the devkit's two files."""
    devkit: dict[str, bytes] = {}
    with open_tar(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if member.isfile() and number_of(name.name):
                return Source(path, archive=True)
            stream = archive.extractfile(member) if member.isfile() and name.name in (META, TRUTH) else None
            if stream is not None and member.size <= _MAX_BYTES:
                devkit[name.name] = stream.read()
            if len(devkit) == 2:
                break
    if not devkit:
        raise DataError(f"{path} holds neither images of the set nor the devkit", hint=_EXPECTED_SOURCES)
    return Source(path, meta=devkit.get(META, b""), truth=devkit.get(TRUTH, b"").decode("ascii", "replace"))


_DEVKIT = "take it from the devkit of 2012, ILSVRC2012_devkit_t12.tar.gz"
_EXPECTED_SOURCES = (
    "labels come from the devkit (ILSVRC2012_devkit_t12.tar.gz, or its folder), val.txt, LOC_val_solution.csv, a CSV"
    " file path,label, or class folders by WordNet id; images from their folder or ILSVRC2012_img_val.tar"
)
