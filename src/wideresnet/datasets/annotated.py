"""Validation sets as Tiny ImageNet and Kaggle's ImageNet unpack: a flat folder of images and a table of classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wideresnet.datasets.ground_truth import labelled_by
from wideresnet.datasets.labelled import LabelledData
from wideresnet.images.files import image_endings
from wideresnet.records import Labels

TABLES = ("val_annotations.txt", "LOC_val_solution.csv")
_IMAGE_FOLDERS = ("images", "", "val/images", "val", "ILSVRC/Data/CLS-LOC/val")
_LEVELS = 5                                        # folders upwards that are searched for a table


def find_annotated(root: Path) -> tuple[Path, Path] | None:
    """Return the folder of images in ``root`` and the table of classes in or above it; None for other data."""
    folders = (root / part for part in _IMAGE_FOLDERS)
    return next(((folder, table) for folder in folders if _is_flat(folder) for table in _tables(folder)), None)


def labelled_annotated(root: Path, labels: Labels) -> LabelledData | None:
    """Return the images that ``find_annotated`` finds with their classes. Raises DataError where they differ."""
    annotated = find_annotated(root)
    if annotated is None:
        return None
    folder, table = annotated
    data = labelled_by(folder, table, labels)
    name = data.name.replace(folder.resolve().name, root.resolve().name, 1)
    return replace(data, name=name, notes=(f"classes of {folder} are those of {table}", *data.notes))


def _is_flat(folder: Path) -> bool:
    """Return whether the folder directly holds images."""
    try:
        return folder.is_dir() and any(path.suffix.lower() in image_endings() for path in folder.iterdir())
    except OSError:
        return False


def _tables(folder: Path) -> Iterator[Path]:
    for parent in [folder, *folder.absolute().parents][:_LEVELS]:
        yield from (parent / name for name in TABLES if (parent / name).is_file())
