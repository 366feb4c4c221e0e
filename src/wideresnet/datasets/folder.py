"""Labelled images in folders, one folder a class (``ROOT/n01440764/x.JPEG``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wideresnet.datasets.ground_truth import from_one_hint
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.layout import list_folder, name_list
from wideresnet.datasets.lookup import ClassLookup
from wideresnet.errors import DataError, did_you_mean
from wideresnet.images.files import describe_skipped, find_images
from wideresnet.records import Item, Labels, Skipped


def labelled_folder(root: Path, labels: Labels) -> LabelledData:
    """Return the images below ``root``, sorted, each with the class of its class folder.

    The name of a class folder is the id (``n01440764``), the name where only one class has it, or the index (``17``) of
    the class. Classes without a folder are allowed. Raises DataError where there is no class folder or no image, where
    a folder fits no class or holds folders of other classes, and where two folders fit one class.
    """
    content = list_folder(root)
    if not content.folders:
        raise DataError(f"{root} holds no class folders", hint=_CLASS_FOLDERS)
    lookup = ClassLookup(labels, root)
    classes: dict[int, Path] = {}
    for folder in (root / name for name in content.folders):
        if (index := lookup.find(folder.name)) is None:
            raise DataError(f"the folder {folder} fits none of the {lookup.count} classes", hint=_hint(folder, lookup))
        if index in classes:
            raise DataError(f"{classes[index]} and {folder} are folders of one class", hint="merge them")
        classes[index] = folder
    items: list[Item] = []
    skipped, empty = content.with_images(f"the class folders of {root}"), []
    for index, folder in classes.items():
        files = find_images([folder])
        paths = list(files)
        _check_no_classes_inside(folder, paths, lookup)
        items += [Item(path=str(path), source=path, label=index) for path in paths]
        skipped += files.skipped
        if not paths:
            empty.append(folder.name)
    if not items:
        problem = f"the class folders of {root} hold no images"
        raise DataError(problem, hint=describe_skipped(skipped, str(root)) or _CLASS_FOLDERS)
    notes = (f"no image in {name_list(empty)} of {root}",) if empty else ()
    skipped += Skipped(notes=notes)
    return LabelledData(name=root.resolve().name, items=items, classes=len(labels.names), skipped=skipped)


_CLASS_FOLDERS = "expected one folder a class, named by class id, name or index: DATA/n01440764/image.jpg"


def _check_no_classes_inside(folder: Path, paths: Sequence[Path], lookup: ClassLookup) -> None:
    """Raise DataError where most of the images are in folders that are named like other classes."""
    parents = [path.parent for path in paths if path != folder]       # itself where it cannot be listed
    if 2 * parents.count(folder) >= len(parents):
        return
    inner = {part for parent in {*parents} - {folder} for part in parent.relative_to(folder).parts}
    # A number means a class only where classes have such names: CLASS/1/x.jpg is not an image of class 1.
    classes = {name for name in inner if name in lookup.names or name in lookup.ids or not name.isdecimal()}
    foreign = [name for name in sorted(classes) if lookup.find(name) not in (None, lookup.find(folder.name))]
    if foreign:
        raise DataError(f"{folder} holds folders of other classes: {name_list(foreign)}", hint=f"give {folder}")


def _hint(folder: Path, lookup: ClassLookup) -> str:
    if folder.name in lookup.shared:
        return f"several classes are called {folder.name!r}: name the folder by id or index"
    if any(lookup.find(name) is not None for name in list_folder(folder).folders):
        return f"its own folders do: give {folder}"
    if folder.name.isdecimal():
        from_one = not lookup.numbered and folder.name == str(lookup.count)
        return from_one_hint(lookup.count) if from_one else lookup.expected
    return did_you_mean(folder.name, [*lookup.ids, *lookup.names]) or _CLASS_FOLDERS
