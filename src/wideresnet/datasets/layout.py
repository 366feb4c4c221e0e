"""Where the splits and the class folders of a data set lie, by the names in use and by where images are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path

from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.text import nfc
from wideresnet.errors import DataError
from wideresnet.images.files import Folder, find_images, read_folder
from wideresnet.records import Labels, Skipped

EXPECTED = "expected ROOT/CLASS/image.jpg, or ROOT/train/CLASS/image.jpg and ROOT/val/CLASS/image.jpg"
KNOWN = (
    "splits are known by the names train or training, val, valid, validation or dev, and test or testing, in any case"
    " and also with 'set', 'data' or 'images'"
)
_ROLES = {
    role: frozenset(names.split())
    for role, names in {
        "train": "train training trainset trainingset trn 训练 训练集",
        "val": "val valid validation validate valset validset validationset dev devset development eval 验证 验证集",
        "test": "test testing testset testingset tst 测试 测试集",
    }.items()
}
_ADDED = frozenset(("", "set", "data", "dataset", "image", "images", "img", "imgs", "split", "seg", "folder"))
_CONTAINERS = frozenset(("images", "image", "imgs", "img", "jpg", "jpeg", "png", "photos", "pictures", "data"))
STRAY = 10                                         # times as many images lie deeper where one beside them is a stray


@dataclass(frozen=True)
class Layout:
    """What a folder holds: the folders of splits by role ("train", "val", "test"), or class folders in ``root``.

    ``skipped`` is what lies beside the splits, and in folders around ``root``.
    """

    root: Path
    splits: Mapping[str, Path]
    skipped: Skipped = field(default_factory=Skipped)


def role_of(name: str) -> str:
    """``"train"``, ``"val"`` or ``"test"`` for the name of a split, else an empty string."""
    words = [word for word in re.split(r"[^a-z]+", name.lower()) if word not in _ADDED] or [name]
    return next((role for role, names in _ROLES.items() if len(words) == 1 and words[0] in names), "")


def find_layout(root: Path, is_class: Callable[[str], bool] | None = None) -> Layout:
    """The layout of ``root``, or of the only folder in it where no image lies beside that, as archives unpack.

    Folders that ``is_class`` knows are classes, whatever their names. Raises DataError where two folders are the same
    split, and where one may be a split or a class.
    """
    if not root.is_dir():
        raise DataError(f"{root.parent} has no folder {root.name!r}", hint=EXPECTED)
    content = list_folder(root)
    names = content.folders
    if is_class and all(map(is_class, names)):
        return Layout(root, {})
    if len(names) == 1 and not content.images and _is_around(root / names[0]):
        inner = find_layout(root / names[0], is_class)
        note = Skipped(notes=(f"went into {root / names[0]}, the only folder in {root}",))
        return replace(inner, skipped=content.skipped + note + inner.skipped)
    roles = roles_of(names)
    others = [name for name in names if not role_of(name)]
    if others and len(roles) <= 1:
        # A class may be called "train": images lie in it, as in the classes beside it.
        named = next(iter(roles.values()), [])
        if any(_holds_folders(root / name) for name in named):
            hint = f"give {root / named[0]}, or move the others away; {KNOWN}"
            raise DataError(f"{root} holds {listed(named)}, a split by its name, beside {listed(others)}", hint)
        return Layout(root, {})
    splits = {role: _innermost(root / name) for role, name in only_ones(roles, str(root)).items()}
    notes = (f"left out beside the splits of {root}: {listed(others)}",) if splits and others else ()
    return Layout(root, splits, content.with_images(f"the splits of {root}") + Skipped(notes=notes))


def roles_of(names: Sequence[str]) -> dict[str, list[str]]:
    """The names of splits among ``names``, by role."""
    roles: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if role := role_of(name):
            roles[role].append(name)
    return dict(roles)


def only_ones(roles: Mapping[str, Sequence[str]], where: str) -> dict[str, str]:
    """The one name of each role. Raises DataError where several folders are the same split."""
    for role, names in roles.items():
        if len(names) > 1:
            hint = f"keep one, and move the others away; {KNOWN}"
            raise DataError(f"{listed(names)} of {where} are all its {role} split", hint)
    return {role: names[0] for role, names in roles.items()}


def evaluation_folder(root: Path, labels: Labels) -> Layout:
    """Where the class folders lie to measure accuracy on: in ``root``, or in its only split that is no training split.

    ``splits`` is empty in the result. Raises DataError where it is unclear which split is meant.
    """
    layout = find_layout(root, _knows(labels))
    return _take(layout, held_out({role: str(path) for role, path in layout.splits.items()}, root))


def training_folder(root: Path, labels: Labels) -> Layout:
    """The same to learn or calibrate from: in ``root``, or in its training split, else in another one.

    ``root`` itself where it is no folder. Raises DataError where its layout is unclear.
    """
    layout = find_layout(root, _knows(labels)) if root.is_dir() else Layout(root, {})
    return _take(layout, next((role for role in _ROLES if role in layout.splits), ""))


def holds_splits(root: Path, labels: Labels) -> bool:
    """Whether ``root`` has a training split and one to evaluate. Raises DataError where that is unclear."""
    splits = find_layout(root, _knows(labels)).splits
    return "train" in splits and len(splits) > 1


def held_out(splits: Mapping[str, str], where: object) -> str:
    """The role of the split to evaluate; empty where there are no splits. Raises DataError where it is unclear."""
    roles = [role for role in ("val", "test") if role in splits]
    if splits and len(roles) != 1:
        hint = " or ".join(splits[role] for role in roles or splits)
        raise DataError(f"which split of {where} to evaluate is unclear: it holds {', '.join(splits)}", f"give {hint}")
    return roles[0] if roles else ""


def taken(splits: Mapping[str, object], role: str) -> Skipped:
    """The note that one split was taken, and which others were not."""
    others = [str(path) for other, path in splits.items() if other != role]
    return Skipped(notes=(f"took {splits[role]}" + (f", left out {listed(others)}" if others else ""),))


def class_folders(root: Path) -> list[str]:
    """The names of the class folders in ``root``, sorted.

    Raises DataError where there are none, and where folders in them may be the classes: those of all, the same two in
    several, or those of a split.
    """
    names = list_folder(root).folders
    if not names:
        named = f"{root.name}/ is a split by its name: rename it if it is a class; {EXPECTED}; {KNOWN}"
        raise DataError(f"{root} holds no class folders", named if role_of(root.name) else EXPECTED)
    inner = {name: folders for name in names if (folders := _inner_folders(root / name))}
    nested = [name for name in inner if _holds_folders(root / name, STRAY)]
    if len(nested) < len(names):
        nested = [name for name in _alike(root, inner) if _holds_folders(root / name)]
    if nested:
        raise DataError(
            f"{root} holds folders of folders: is {nested[0]}/ a class, or {inner[nested[0]][0].relative_to(root)}/?",
            hint=f"put the images of a class directly into its folder, or give {root / nested[0]}; {KNOWN}",
        )
    return sorted(names, key=nfc)


def _alike(root: Path, inner: Mapping[str, Sequence[Path]]) -> list[str]:
    """The class folders in which there are splits, or two folders that are also in another one."""
    names = {name: {folder.name for folder in folders} for name, folders in inner.items()}
    several = [name for name in names if len(names[name]) > 1]
    shared = {name for pair in combinations(several, 2) if len(names[pair[0]] & names[pair[1]]) > 1 for name in pair}
    for name in inner.keys() - shared:
        splits = [path for path in inner[name] if role_of(path.name)]
        if len(roles_of(list(names[name]))) > 1 or any(map(_holds_folders, splits)):
            shared.add(name)
    return sorted(shared)


def _inner_folders(path: Path) -> list[Path]:
    """The folders of images in a class folder, through those that are called ``images`` or as the class is."""
    ordinary, folders = {path.name.lower(), *_CONTAINERS}, list[Path]()
    for inner in (path / name for name in list_folder(path).folders):
        if inner.name.lower() in ordinary:
            folders += _inner_folders(inner)
        elif any(True for _ in find_images([inner])):
            folders.append(inner)
    return folders


def list_folder(path: Path) -> Folder:
    """``read_folder``. Raises DataError."""
    try:
        return read_folder(path)
    except OSError as error:
        raise DataError(f"cannot list {path}: {error.strerror}", hint=EXPECTED) from error


def listed(names: Sequence[str], most: int = 5) -> str:
    """``train/, val/ and 3 more``."""
    shown = [f"{name}/" for name in names[:most]]
    more = f"{len(names) - most:,} more" if len(names) > most else shown.pop() if shown else ""
    return f"{', '.join(shown)} and {more}" if shown else more


def _holds_folders(path: Path, times: int = 2) -> bool:
    """Whether there are folders in it, with more than ``times`` as many images as lie beside them."""
    content = list_folder(path)
    most = times * len(content.images)
    deeper = (image for image in find_images([path]) if image.parent != path)
    return bool(content.folders) and (not most or sum(1 for _ in islice(deeper, most + 1)) > most)


def _is_around(path: Path) -> bool:
    """Whether a folder that is the only one holds folders alone, and is no split itself."""
    return _holds_folders(path) and (not role_of(path.name) or len(roles_of(list_folder(path).folders)) > 1)


def _innermost(split: Path) -> Path:
    """The folder, or the only one in it where that is named as the same split again."""
    names = list_folder(split).folders
    return _innermost(split / names[0]) if len(names) == 1 and role_of(names[0]) == role_of(split.name) else split


def _knows(labels: Labels) -> Callable[[str], bool]:
    lookup = ClassLookup(labels)
    return lambda name: lookup.find(name) is not None


def _take(layout: Layout, role: str) -> Layout:
    """The layout of one split; without a role, what it was."""
    return Layout(layout.splits[role], {}, layout.skipped + taken(layout.splits, role)) if role else layout
