"""Labelled images at a path, in any of the supported layouts and file formats."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.annotated import labelled_annotated
from wideresnet.datasets.cifar import cifar_test, detect_cifar
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.ground_truth import labelled_by, labelled_index
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels, translated
from wideresnet.datasets.layout import evaluation_folder, list_folder, name_list
from wideresnet.datasets.shards import find_shards, labelled_shards
from wideresnet.datasets.svhn import detect_svhn, svhn_test
from wideresnet.datasets.zoo_npz import is_npz_data, labelled_npz
from wideresnet.errors import ConfigError, DataError, errors_as
from wideresnet.images.files import find_images
from wideresnet.images.sniff import first_bytes, image_format, other_format
from wideresnet.pipes import check_regular, path_exists
from wideresnet.records import Labels, Skipped

_SUPPORTED = (
    "supported are a folder with one folder a class, an index (path,index,wnid or path,label as CSV, or val.txt),"
    " a folder of images with such a file as its ground truth, the model zoo's .npz or a list of them,"
    " CIFAR's archives (cifar-10-binary.tar.gz, cifar-10-python.tar.gz and those of CIFAR-100) or the folder extracted"
    " from one of them, SVHN's test_32x32.mat, a hub's Parquet (image, label), and tar shards (key.jpg, key.cls)"
)
INDEX_ENDINGS = (".csv", ".tsv", ".txt")


def open_labelled(path: Path, labels: Labels, *, ground_truth: Path | None = None, verify: bool = True) -> LabelledData:
    """Return the labelled images at ``path``: class folders, an index file, shards, or the test set of CIFAR or SVHN.

    Of a folder of splits the validation or test split is taken (see ``datasets.layout``). With ``ground_truth`` (see
    ``datasets.ground_truth``) ``path`` is a folder of images, and that file lists their classes. ``labels`` are those
    of the network to evaluate. ``verify`` requires the official files of CIFAR and SVHN. Raises DataError where
    ``path`` holds no such data, or other classes, and ConfigError for a ground truth beside a file.
    """
    if not path_exists(path, DataError):
        raise DataError(f"no such file or directory: {str(path)!r}", hint=_SUPPORTED)
    check_regular(path, DataError, hint="write it to a file first")
    if ground_truth is not None:
        if not path.is_dir():
            raise ConfigError(f"{path} is not a folder of images for {ground_truth}", hint=_SUPPORTED)
        return labelled_by(path, ground_truth, labels)
    cifar = detect_cifar(path, len(labels.names))
    if cifar is not None:
        _check_classes(path, cifar.name, cifar.classes, labels)
        data = cifar_test(path, cifar, verify=verify)
        return replace(data, skipped=data.skipped + _note_on_folders(path, {cifar.folder, cifar.python.folder}))
    svhn = detect_svhn(path)
    if svhn is not None:
        _check_classes(path, "svhn", 10, labels)
        return svhn_test(svhn, verify=verify)
    if is_npz_data(path):
        return labelled_npz(path, labels)
    if shards := find_shards(path):
        return labelled_shards(shards, labels)
    check_format(path)
    if path.is_dir():
        if annotated := labelled_annotated(path, labels):
            return annotated
        layout = evaluation_folder(path, labels)
        data = labelled_annotated(layout.root, labels) or labelled_folder(layout.root, labels)
        return replace(data, skipped=layout.skipped + data.skipped)
    if path.suffix.lower() not in INDEX_ENDINGS:
        raise DataError(f"the file {path} is not labelled data of a supported format", hint=_SUPPORTED)
    with errors_as(DataError, DataError, f"{path} is not labelled data"):
        return labelled_index(path, labels)


def check_format(path: Path) -> None:
    """Raise DataError where a file, or a file in a folder without folders, has to be converted first."""
    entries = sorted(path.glob("*")) if path.is_dir() else [path]
    if any(entry.is_dir() for entry in entries):
        return
    for file in entries[:100]:
        head = first_bytes(file)
        if image_format(head) is None and (format := other_format(head)):
            raise DataError(f"{file} is not labelled data but {format.name}", hint=format.hint)


def _check_classes(path: Path, name: str, classes: int, labels: Labels) -> None:
    """Raise DataError for a network of another number of classes, and for one that names others alone."""
    problem, hint = f"{path} is {name} with {classes} classes, the network has", f"use a network trained on {name}"
    if classes != len(labels.names):
        raise DataError(f"{problem} {len(labels.names)}", hint)
    own = read_labels(name)
    spellings = {_spelling(word) for names in (own.names, translated(own, "zh", name).names) for word in names}
    unnamed = all(re.fullmatch(rf"\D*0*{index}", word) for index, word in enumerate(labels.names))     # "class 3"
    if not unnamed and spellings.isdisjoint(map(_spelling, labels.names)):
        raise DataError(f"{problem} others, such as {labels.names[0]!r}", hint)


def _spelling(name: str) -> str:
    return name.replace("_", " ").casefold()


def _note_on_folders(path: Path, own: set[str]) -> Skipped:
    """Return a note on the folders of images in ``path`` beside the folders ``own`` of its data set."""
    names = list_folder(path).folders if path.is_dir() else []
    left_out = [name for name in names if name not in own and any(True for _ in find_images([path / name]))]
    return Skipped(notes=(f"left out beside the files of CIFAR in {path}: {name_list(left_out)}",) if left_out else ())
