"""Whatever labelled data a path holds."""

from __future__ import annotations

from pathlib import Path

from wideresnet.data.cifar import cifar_test, detect_cifar
from wideresnet.data.folder import labelled_folder
from wideresnet.data.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.records import Labels

_ACCEPTED = (
    "accepted are a folder with one folder a class, cifar-10-binary.tar.gz and cifar-100-binary.tar.gz,"
    " or the folder extracted from one of them"
)


def open_labelled(path: Path, labels: Labels, *, verify: bool = True) -> LabelledData:
    """The labelled pictures at ``path``: class folders, or a CIFAR archive's (or folder's) test set.

    ``labels`` are those of the network to evaluate. ``verify`` demands the official CIFAR files.
    Raises DataError when there is no such data, or it is of other classes.
    """
    if not path.exists():
        raise DataError(f"no file or folder {str(path)!r}", hint=_ACCEPTED)
    kind = detect_cifar(path)
    if kind is not None:
        if kind.classes != len(labels.names):
            raise DataError(
                f"{path} is {kind.name} with {kind.classes} classes, the network has {len(labels.names)}",
                hint=f"evaluate a network that was trained on {kind.name}",
            )
        return cifar_test(path, kind, verify=verify)
    if path.is_dir():
        return labelled_folder(path, labels)
    raise DataError(f"the file {path} is no labelled data that is known here", hint=_ACCEPTED)
