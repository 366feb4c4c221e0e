"""Labelled data at a path, in the forms that people keep it in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.annotated import labelled_annotated
from wideresnet.datasets.cifar import CifarFormat, cifar_test, detect_cifar
from wideresnet.datasets.folder import labelled_folder
from wideresnet.datasets.ground_truth import labelled_by, labelled_index
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.layout import evaluation_folder
from wideresnet.datasets.shards import find_shards, labelled_shards
from wideresnet.datasets.svhn import detect_svhn, svhn_test
from wideresnet.datasets.zoo_npz import is_npz_data, labelled_npz
from wideresnet.errors import ConfigError, DataError
from wideresnet.images.sniff import first_bytes, image_format, other_format
from wideresnet.pipes import special_kind
from wideresnet.records import Labels

_ACCEPTED = (
    "accepted are a folder with one folder a class, an index (path,index,wnid or path,label as CSV, or val.txt),"
    " a folder of images with such a file as its ground truth, the model zoo's .npz or a list of them,"
    " CIFAR's archives (cifar-10-binary.tar.gz, cifar-10-python.tar.gz and those of CIFAR-100) or the folder extracted"
    " from one of them, SVHN's test_32x32.mat, a hub's Parquet (image, label), and tar shards (key.jpg, key.cls)"
)
INDEX_ENDINGS = (".csv", ".tsv", ".txt")


def open_labelled(
    path: Path, labels: Labels, *, ground_truth: Path | None = None, verify: bool = True
) -> LabelledData:
    """The labelled images at ``path``: class folders, an index file, shards, or the test set of CIFAR or SVHN.

    Of a folder of splits it is the validation or test split (see ``data.layout``).
    With ``ground_truth`` (see ``data.truth``) ``path`` is a folder of images whose classes that file says.
    ``labels`` are those of the network to evaluate. ``verify`` demands the official files.
    Raises DataError when there is no such data, or it is of other classes.
    """
    if not path.exists():
        raise DataError(f"no file or folder {str(path)!r}", hint=_ACCEPTED)
    if kind_of_file := special_kind(path):
        raise DataError(f"{path} is not a regular file: {kind_of_file}", hint="write it to a file first")
    if ground_truth is not None:
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder whose images {ground_truth} could name", hint=_ACCEPTED)
        return labelled_by(path, ground_truth, labels)
    kind = detect_cifar(path, len(labels.names))
    if kind is not None:
        return _cifar(path, kind, labels, verify)
    svhn = detect_svhn(path)
    if svhn is not None:
        _refuse_classes(path, "svhn", 10, labels)
        return svhn_test(svhn, verify=verify)
    if is_npz_data(path):
        return labelled_npz(path, labels)
    if find_shards(path):
        return labelled_shards(path, labels)
    refuse_other_format(path)
    if path.is_dir():
        if annotated := labelled_annotated(path, labels):
            return annotated
        layout = evaluation_folder(path, labels)
        data = labelled_annotated(layout.root, labels) or labelled_folder(layout.root, labels)
        return replace(data, skipped=layout.skipped + data.skipped)
    if path.suffix.lower() not in INDEX_ENDINGS:
        raise DataError(f"the file {path} is no labelled data that is known here", hint=_ACCEPTED)
    try:
        return labelled_index(path, labels)
    except DataError as error:
        raise DataError(f"{path} is no labelled data: {error.message}", error.hint) from error


def refuse_other_format(path: Path) -> None:
    """Raise DataError where a file, or one that lies in a folder without folders, has to be converted first."""
    inside = sorted(path.glob("*")) if path.is_dir() else [path]
    for file in inside[:100] if not any(each.is_dir() for each in inside) else ():
        head = first_bytes(file)
        if image_format(head) is None and (format := other_format(head)):
            raise DataError(f"{file} is no labelled data but {format.what}", hint=format.hint)


def _cifar(path: Path, kind: CifarFormat, labels: Labels, verify: bool) -> LabelledData:
    _refuse_classes(path, kind.name, kind.classes, labels)
    return cifar_test(path, kind, verify=verify)


def _refuse_classes(path: Path, name: str, classes: int, labels: Labels) -> None:
    if classes != len(labels.names):
        raise DataError(
            f"{path} is {name} with {classes} classes, the network has {len(labels.names)}",
            hint=f"evaluate a network that was trained on {name}",
        )
