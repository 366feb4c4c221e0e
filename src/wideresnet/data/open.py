"""Whatever labelled data a path holds."""

from __future__ import annotations

from pathlib import Path

from wideresnet.data.annotated import labelled_annotated
from wideresnet.data.cifar import CifarFormat, cifar_test, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.labelled import LabelledData
from wideresnet.data.svhn import detect_svhn, svhn_test
from wideresnet.data.truth import labelled_by, labelled_index
from wideresnet.data.zoo import is_npz_data, labelled_npz
from wideresnet.errors import ConfigError, DataError
from wideresnet.records import Labels

_ACCEPTED = (
    "accepted are a folder with one folder a class, an index (path,index,wnid or path,label as CSV, or val.txt),"
    " a folder of pictures with such a file as its ground truth, the model zoo's .npz or a list of them,"
    " cifar-10-binary.tar.gz and cifar-100-binary.tar.gz, or the folder extracted from one of them, or SVHN's"
    " test_32x32.mat"
)
INDEX_ENDINGS = (".csv", ".tsv", ".txt")


def open_labelled(
    path: Path, labels: Labels, *, ground_truth: Path | None = None, verify: bool = True
) -> LabelledData:
    """The labelled pictures at ``path``: class folders, an index file, or the test set of CIFAR or SVHN.

    With ``ground_truth`` (see ``data.truth``) ``path`` is a folder of pictures whose classes that file says.
    ``labels`` are those of the network to evaluate. ``verify`` demands the official files.
    Raises DataError when there is no such data, or it is of other classes.
    """
    if not path.exists():
        raise DataError(f"no file or folder {str(path)!r}", hint=_ACCEPTED)
    if ground_truth is not None:
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder whose pictures {ground_truth} could name", hint=_ACCEPTED)
        return labelled_by(path, ground_truth, labels)
    kind = detect_cifar(path)
    if kind is not None:
        return _cifar(path, kind, labels, verify)
    svhn = detect_svhn(path)
    if svhn is not None:
        _refuse_classes(path, "svhn", 10, labels)
        return svhn_test(svhn, verify=verify)
    if is_npz_data(path):
        return labelled_npz(path, labels)
    if path.is_dir():
        return labelled_annotated(path, labels) or labelled_folder(path, labels)
    if path.suffix.lower() not in INDEX_ENDINGS:
        raise DataError(f"the file {path} is no labelled data that is known here", hint=_ACCEPTED)
    try:
        return labelled_index(path, labels)
    except DataError as error:
        raise DataError(f"{path} is no labelled data: {error.message}", error.hint) from error


def _cifar(path: Path, kind: CifarFormat, labels: Labels, verify: bool) -> LabelledData:
    _refuse_classes(path, kind.name, kind.classes, labels)
    return cifar_test(path, kind, verify=verify)


def _refuse_classes(path: Path, name: str, classes: int, labels: Labels) -> None:
    if classes != len(labels.names):
        raise DataError(
            f"{path} is {name} with {classes} classes, the network has {len(labels.names)}",
            hint=f"evaluate a network that was trained on {name}",
        )
