"""The layout of a data set in folders: its splits and class folders, by common names and by where images are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice, product
from pathlib import Path

from wideresnet.datasets.lookup import ClassLookup
from wideresnet.datasets.text import nfc
from wideresnet.errors import ConfigError, DataError, os_errors_as
from wideresnet.images.files import Folder, find_images, read_folder
from wideresnet.records import Labels, Skipped

EXPECTED = "expected ROOT/CLASS/image.jpg, or ROOT/train/CLASS/image.jpg and ROOT/val/CLASS/image.jpg"
SPLIT_NAMES = (
    "splits have the names train or training, val, valid, validation or dev, and test or testing, in any case"
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
_FILLER_WORDS = frozenset(("", "set", "data", "dataset", "image", "images", "img", "imgs", "split", "seg", "folder"))
_IMAGE_FOLDERS = frozenset(("images", "image", "imgs", "img", "jpg", "jpeg", "png", "photos", "pictures", "data"))
STRAY_RATIO = 10                                   # images in sub-folders, for each one beside these folders


@dataclass(frozen=True)
class Layout:
    """The folders of splits by role ("train", "val", "test"); where there are none, ``root`` holds class folders.

    ``skipped`` counts files beside the splits, and in folders around ``root``.
    """

    root: Path
    splits: Mapping[str, Path]
    skipped: Skipped = field(default_factory=Skipped)


def role_of(name: str) -> str:
    """Return ``"train"``, ``"val"`` or ``"test"`` for the name of a split, else an empty string."""
    tokens = [token for token in re.split(r"[^a-z]+", name.lower()) if token not in _FILLER_WORDS] or [name]
    return next((role for role, names in _ROLES.items() if len(tokens) == 1 and tokens[0] in names), "")


def find_layout(root: Path, is_class: Callable[[str], bool] | None = None) -> Layout:
    """Return the layout of ``root``, or of the only folder in it if no image is beside it, as archives unpack.

    Folders for which ``is_class`` is true are classes even with the name of a split. Raises DataError where two folders
    are the same split, and where a folder may be a split or a class.
    """
    if not root.is_dir():
        if root.exists():
            raise DataError(f"{root} is a file, not a folder of classes or shards", hint=EXPECTED)
        raise DataError(f"{root.parent} has no folder {root.name!r}", hint=EXPECTED)
    content = list_folder(root)
    names = content.folders
    if is_class and all(map(is_class, names)):
        return Layout(root, {})
    if len(names) == 1 and not content.images and _is_wrapper(root / names[0]):
        inner = find_layout(root / names[0], is_class)
        note = Skipped(notes=(f"went into {root / names[0]}, the only folder in {root}",))
        return replace(inner, skipped=content.skipped + note + inner.skipped)
    roles = roles_of(names)
    not_splits = [name for name in names if not role_of(name)]
    if not_splits and len(roles) <= 1:
        # A class may be called "train": it holds images directly, as the classes beside it do.
        split_names = next(iter(roles.values()), [])
        if any(_holds_folders(root / name) for name in split_names):
            hint = f"give {root / split_names[0]}, or move the others away; {SPLIT_NAMES}"
            problem = f"{root} holds {name_list(split_names)}, a split by its name, beside {name_list(not_splits)}"
            raise DataError(problem, hint)
        return Layout(root, {})
    splits = {role: _innermost(root / name) for role, name in single_folders(roles, str(root)).items()}
    notes = (f"left out beside the splits of {root}: {name_list(not_splits)}",) if splits and not_splits else ()
    return Layout(root, splits, content.with_images(f"the splits of {root}") + Skipped(notes=notes))


def check_outside(data: Path, *folders: Path | None) -> None:
    """Raise ConfigError for one of ``folders`` that is among the class folders of ``data``, if that is a folder."""
    layout = find_layout(data) if data.is_dir() else Layout(data, {})
    for root, folder in product(layout.splits.values() or [layout.root], filter(None, folders)):
        if folder.resolve().is_relative_to(root.resolve()):
            problem = f"{folder} is among the class folders of {root}, and would be a class the next time"
            raise ConfigError(problem, hint=f"name a folder that is not in {root}")


def roles_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names of splits among ``names``, by role."""
    roles: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if role := role_of(name):
            roles[role].append(name)
    return dict(roles)


def single_folders(roles: Mapping[str, Sequence[str]], where: str) -> dict[str, str]:
    """Return the only name of each role. Raises DataError where several folders are the same split."""
    for role, names in roles.items():
        if len(names) > 1:
            hint = f"keep one, and move the others away; {SPLIT_NAMES}"
            raise DataError(f"{name_list(names)} of {where} all name its {role} split", hint)
    return {role: names[0] for role, names in roles.items()}


def evaluation_folder(root: Path, labels: Labels) -> Layout:
    """Return the layout of the class folders to measure accuracy on: ``root``, or its validation or test split.

    ``splits`` is empty in the result. Raises DataError where it is unclear which split is meant.
    """
    layout = find_layout(root, _is_class_of(labels))
    return _take_split(layout, evaluation_role({role: str(path) for role, path in layout.splits.items()}, root))


def training_folder(root: Path, labels: Labels) -> Layout:
    """Return the layout of the class folders to train or calibrate with: ``root``, or its training or another split.

    ``root`` itself where it is not a folder. Raises DataError where its layout is unclear.
    """
    layout = find_layout(root, _is_class_of(labels)) if root.is_dir() else Layout(root, {})
    return _take_split(layout, next((role for role in _ROLES if role in layout.splits), ""))


def holds_splits(root: Path, labels: Labels) -> bool:
    """Return whether ``root`` has a training split and another one. Raises DataError where that is unclear."""
    splits = find_layout(root, _is_class_of(labels)).splits
    return "train" in splits and len(splits) > 1


def evaluation_role(splits: Mapping[str, str], where: object) -> str:
    """Return the role of the split to evaluate, empty without splits. Raises DataError where it is unclear."""
    roles = [role for role in ("val", "test") if role in splits]
    if splits and len(roles) != 1:
        hint = " or ".join(splits[role] for role in roles or splits)
        raise DataError(f"which split of {where} to evaluate is unclear: it holds {', '.join(splits)}", f"give {hint}")
    return roles[0] if roles else ""


def note_on_split(splits: Mapping[str, object], role: str) -> Skipped:
    """Return a note on the split that was taken and those that were left out."""
    left_out = [str(path) for name, path in splits.items() if name != role]
    return Skipped(notes=(f"took {splits[role]}" + (f", left out {name_list(left_out)}" if left_out else ""),))


def class_folders(root: Path) -> list[str]:
    """Return the names of the class folders in ``root``, sorted.

    Raises DataError where there are none, and where the folders in them may be the classes: all class folders hold
    folders, two of them hold the same two, or one holds splits.
    """
    names = list_folder(root).folders
    if not names:
        split_hint = f"{root.name}/ is a split by its name: rename it if it is a class; {EXPECTED}; {SPLIT_NAMES}"
        raise DataError(f"{root} holds no class folders", split_hint if role_of(root.name) else EXPECTED)
    inner = {name: folders for name in names if (folders := _inner_folders(root / name))}
    nested = [name for name in inner if _holds_folders(root / name, STRAY_RATIO)]
    if len(nested) < len(names):
        nested = [name for name in _with_shared_folders(root, inner) if _holds_folders(root / name)]
    if nested:
        raise DataError(
            f"{root} holds folders of folders: is {nested[0]}/ a class, or {inner[nested[0]][0].relative_to(root)}/?",
            hint=f"put the images of a class directly into its folder, or give {root / nested[0]}; {SPLIT_NAMES}",
        )
    return sorted(names, key=nfc)


def _with_shared_folders(root: Path, inner: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the class folders that hold splits, or two folders with names that another class folder holds too."""
    names = {name: {folder.name for folder in folders} for name, folders in inner.items()}
    several = [name for name in names if len(names[name]) > 1]
    shared = {name for pair in combinations(several, 2) if len(names[pair[0]] & names[pair[1]]) > 1 for name in pair}
    for name in inner.keys() - shared:
        splits = [path for path in inner[name] if role_of(path.name)]
        if len(roles_of(list(names[name]))) > 1 or any(map(_holds_folders, splits)):
            shared.add(name)
    return sorted(shared)


def _inner_folders(path: Path) -> list[Path]:
    """Return the folders of images in a class folder; those called ``images`` or like the class are looked into."""
    ordinary, folders = {path.name.lower(), *_IMAGE_FOLDERS}, list[Path]()
    for inner in (path / name for name in list_folder(path).folders):
        if inner.name.lower() in ordinary:
            folders += _inner_folders(inner)
        elif any(True for _ in find_images([inner])):
            folders.append(inner)
    return folders


def list_folder(path: Path) -> Folder:
    """List a folder, as ``read_folder``. Raises DataError."""
    with os_errors_as(DataError, f"cannot list {path}", EXPECTED):
        return read_folder(path)


def name_list(names: Sequence[str], limit: int = 5) -> str:
    """Return ``train/, val/ and 3 more``."""
    shown = [f"{name}/" for name in names[:limit]]
    more = f"{len(names) - limit:,} more" if len(names) > limit else shown.pop() if shown else ""
    return f"{', '.join(shown)} and {more}" if shown else more


def _holds_folders(path: Path, times: int = 2) -> bool:
    """Return whether ``path`` holds folders with more than ``times`` as many images as it holds directly."""
    content = list_folder(path)
    limit = times * len(content.images)
    deeper = (image for image in find_images([path]) if image.parent != path)
    return bool(content.folders) and (not limit or sum(1 for _ in islice(deeper, limit + 1)) > limit)


def _is_wrapper(path: Path) -> bool:
    """Return whether an only folder is a wrapper: it holds nothing but folders, and is not a split."""
    return _holds_folders(path) and (not role_of(path.name) or len(roles_of(list_folder(path).folders)) > 1)


def _innermost(split: Path) -> Path:
    """Return the folder, or the only folder in it where that has the name of the same split again."""
    names = list_folder(split).folders
    return _innermost(split / names[0]) if len(names) == 1 and role_of(names[0]) == role_of(split.name) else split


def _is_class_of(labels: Labels) -> Callable[[str], bool]:
    lookup = ClassLookup(labels)
    return lambda name: lookup.find(name) is not None


def _take_split(layout: Layout, role: str) -> Layout:
    """Return the layout of one split; without a role, the same layout."""
    return Layout(layout.splits[role], {}, layout.skipped + note_on_split(layout.splits, role)) if role else layout
