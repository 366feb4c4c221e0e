"""Labelled images as the model zoo's ``image2npz`` writes them: decoded, in .npz files, listed in a text file."""

from __future__ import annotations

from pathlib import Path

from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.errors import DataError, os_errors_as
from wideresnet.images.files import find_images, is_ignored
from wideresnet.records import Item, Labels

NPZ = ".npz"


def is_npz_data(path: Path) -> bool:
    """Return whether ``path`` is a text file that begins with the name of an .npz file, or a folder of .npz files."""
    if path.is_dir():
        return bool(_in_folders(path)) and not any(find_images([path]))
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return path.suffix.lower() == ".txt" and lines.readline().rstrip().lower().endswith(NPZ)
    except OSError:
        return False


def labelled_npz(path: Path, labels: Labels) -> LabelledData:
    """Return the .npz files in the class folders of ``path``, sorted, or those that the file ``path`` lists.

    Each has the class that its folder names; relative lines count from the folder of the list. A missing file is a
    failure of the evaluation. Raises DataError where a folder names no class, and where all files are missing.
    """
    files = _in_folders(path) if path.is_dir() else _listed(path)
    lookup = ClassLookup(labels)
    items = [Item(str(file), file, lookup.find(file.parent.name)) for file in files]
    unlabelled = next((item for item in items if item.label is None), None)
    if unlabelled:
        problem = f"the folder of {unlabelled.path} fits none of the {lookup.count} classes"
        raise DataError(problem, hint="put each file into a folder named by the id, the name or the index of its class")
    if not any(file.is_file() for file in files):
        raise DataError(f"none of the {len(files):,} files that {path} lists exists, such as {files[0]}")
    return LabelledData(name=path.resolve().name if path.is_dir() else path.stem, items=items, classes=lookup.count)


def _in_folders(path: Path) -> list[Path]:
    files = sorted(path.glob(f"*/*{NPZ}"))
    return [file for file in files if not (is_ignored(file.name) or is_ignored(file.parent.name))]


def _listed(file: Path) -> list[Path]:
    with os_errors_as(DataError, f"cannot read {file}"):
        text = file.read_text("utf-8-sig", "surrogateescape")
    return [file.parent / line.strip() for line in text.split("\n") if line.strip()]
