"""Labelled images as the model zoo's ``image2npz`` leaves them: decoded, in .npz files, listed in a text file."""

from __future__ import annotations

from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.errors import DataError
from wideresnet.images.files import find_images, is_ignored
from wideresnet.records import Item, Labels

NPZ = ".npz"


def is_npz_data(path: Path) -> bool:
    """Whether ``path`` is a text file whose first line names an .npz file, or a folder with such and no images."""
    if path.is_dir():
        return bool(_in_folders(path)) and not any(find_images([path]))
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return path.suffix.lower() == ".txt" and lines.readline().rstrip().lower().endswith(NPZ)
    except OSError:
        return False


def labelled_npz(path: Path, labels: Labels) -> LabelledData:
    """The .npz files in the class folders of ``path``, sorted, or those that it lists, one a line, in its order.

    Each has the class that the folder it lies in names; relative lines count from the folder of the list. A file
    that is not there is a failure of the evaluation. Raises DataError when a folder names no class, and when not one
    of the files is there.
    """
    files = _in_folders(path) if path.is_dir() else _listed(path)
    lookup = ClassLookup(labels)
    items = [Item(str(file), file, lookup.find(file.parent.name)) for file in files]
    strange = next((item for item in items if item.label is None), None)
    if strange:
        raise DataError(
            f"the folder of {strange.path} fits none of the {lookup.count} classes",
            hint="each file lies in a folder called by the id, the name or the index of its class",
        )
    if not any(file.is_file() for file in files):
        raise DataError(f"none of the {len(files):,} files that {path} lists is there, such as {files[0]}")
    return LabelledData(name=path.resolve().name if path.is_dir() else path.stem, items=items, classes=lookup.count)


def _in_folders(path: Path) -> list[Path]:
    files = sorted(path.glob(f"*/*{NPZ}"))
    return [file for file in files if not (is_ignored(file.name) or is_ignored(file.parent.name))]


def _listed(file: Path) -> list[Path]:
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return [file.parent / line.strip() for line in lines if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
