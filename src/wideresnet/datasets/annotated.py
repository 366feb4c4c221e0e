"""Validation sets as Tiny ImageNet and Kaggle's ImageNet are unpacked: a flat folder, and its classes in a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.ground_truth import labelled_by
from wideresnet.datasets.labelled import LabelledData
from wideresnet.images.files import image_endings
from wideresnet.records import Labels

TABLES = ("val_annotations.txt", "LOC_val_solution.csv")
_PARTS = ("images", "", "val/images", "val", "ILSVRC/Data/CLS-LOC/val")
_LEVELS = 5                                        # folders upwards in which a table is looked for


def find_annotated(root: Path) -> tuple[Path, Path] | None:
    """The folder of images in ``root``, and the table at or above it that says their classes; None for other data."""
    folders = (root / part for part in _PARTS)
    return next(((folder, table) for folder in folders if _is_flat(folder) for table in _tables(folder)), None)


def labelled_annotated(root: Path, labels: Labels) -> LabelledData | None:
    """The images that ``find_annotated`` finds, with their classes. Raises DataError where the two do not fit."""
    annotated = find_annotated(root)
    if annotated is None:
        return None
    folder, table = annotated
    data = labelled_by(folder, table, labels)
    name = data.name.replace(folder.resolve().name, root.resolve().name, 1)
    return replace(data, name=name, notes=(f"classes of {folder} are those of {table}", *data.notes))


def _is_flat(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    try:
        return folder.is_dir() and any(path.suffix.lower() in image_endings() for path in folder.iterdir())
    except OSError:
        return False


def _tables(folder: Path) -> Iterator[Path]:
    for above in [folder, *folder.absolute().parents][:_LEVELS]:
        yield from (above / name for name in TABLES if (above / name).is_file())
