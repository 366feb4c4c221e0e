"""Images in folders: which files count as images, and a count of those that are skipped."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from wideresnet.errors import ConfigError
from wideresnet.images.sniff import image_format
from wideresnet.pipes import path_exists
from wideresnet.records import Skipped

# Of the formats that images.decode reads.
IMAGE_ENDINGS = frozenset(
    f".{ending}"
    for kinds in ("jpg jpeg jpe jfif png apng gif webp bmp", "tif tiff ppm pgm pbm pnm pfm jp2 j2k avif")
    for ending in kinds.split()
)
# Of formats that the extra "formats" adds, with the package that reads each.
OPTIONAL_ENDINGS = {".heic": "pillow_heif", ".heif": "pillow_heif", ".hif": "pillow_heif", ".jxl": "imagecodecs"}
RAW_ENDINGS = frozenset((".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"))
# Names that systems, network disks and tools leave in folders, in lower case; hidden names begin with a dot.
SYSTEM_NAMES = frozenset(
    (
        "__macosx", "__pycache__", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
        "lost+found", "$recycle.bin", "found.000", "system volume information", "network trash folder",
        "temporary items", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
    )
)  # fmt: skip
# Locks and unfinished outputs of this program: neither images nor files of the user.
_OWN_FILES = re.compile(r"(\..*)?\.lock|\..+\.parts?|.+\.(csv|jsonl|json|parquet)\.part")
_BACKUP = re.compile(rf"({'|'.join(map(re.escape, sorted(IMAGE_ENDINGS)))})[~_]")
AMBIGUOUS = ("BMP", "PPM", "NPZ")                  # signatures so short or common that text may begin with them
MAX_ENDINGS = 100                                  # counted separately
MAX_LISTED = 8                                     # endings in a message


@dataclass(frozen=True)
class Folder:
    """The names of the images and subfolders directly in a folder, sorted, and the files skipped there."""

    images: list[str]
    folders: list[str]
    skipped: Skipped

    def with_images(self, beside: str) -> Skipped:
        """Return the skipped files and the number of images, for images that are ``beside`` class folders or splits."""
        count = len(self.images)
        notes = (f"{count:,} {_plural('image', count)} beside {beside}",) if count else ()
        return self.skipped + Skipped(notes=notes)


class ImageFiles:
    """An iterable of the files that ``find_images`` finds, searched anew by each iteration.

    ``skipped`` counts the files that this iteration has skipped so far.
    """

    def __init__(self, paths: Iterable[Path], more_endings: Collection[str] = ()) -> None:
        self.paths, self._more_endings = tuple(paths), more_endings
        self.skipped = Skipped()

    def __iter__(self) -> Iterator[Path]:
        self.skipped = Skipped()
        for path in self.paths:
            check_exists(path)
            if path.is_dir():
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, root: Path) -> Iterator[Path]:
        visited: set[tuple[int, int]] = set()
        levels = [self._entries(root, visited, root)]    # of the current folder and those around it, innermost last
        while levels:
            for path, is_folder in levels[-1]:
                if is_folder:
                    levels.append(self._entries(path, visited, root))
                    break
                yield path
            else:
                levels.pop()

    def _entries(self, path: Path, visited: set[tuple[int, int]], root: Path) -> Iterator[tuple[Path, bool]]:
        """Yield images and subfolders by name, and whether each is a folder; nothing if ``path`` was visited before."""
        try:
            identity = path.stat()
            if (identity.st_dev, identity.st_ino) in visited:
                self.skipped += Skipped(notes=(f"{path} was read before, by another name",))
                return
            visited.add((identity.st_dev, identity.st_ino))
            folder = read_folder(path, root, self._more_endings)
        except OSError:
            yield path, False
            return
        self.skipped += folder.skipped
        names = [*((name, False) for name in folder.images), *((name, True) for name in folder.folders)]
        for name, is_folder in sorted(names):
            if is_folder and _is_read_itself(path / name, root):
                self.skipped += Skipped(notes=(f"{path / name} is a link to a folder that is read itself",))
            else:
                yield path / name, is_folder


def find_images(paths: Iterable[Path], more_endings: Collection[str] = ()) -> ImageFiles:
    """Return every file of ``paths`` whatever its ending, and the images in every folder of ``paths``.

    Folders are walked recursively in sorted order, with one folder in memory at a time. Images are files with one of
    ``image_endings`` or ``more_endings`` (in either case), and files without an ending that begin with the signature of
    an image. Hidden and system names are skipped. A folder that links lead to as well is visited once, by its own name
    if it is below the path, so that links cannot go in circles; ``skipped`` notes the links. A subfolder that cannot be
    listed is yielded itself, to be reported as one failure among the images; so is a pipe with the name of an image.

    Iterating raises ConfigError for a path that does not exist.
    """
    return ImageFiles(paths, more_endings)


@cache
def image_endings() -> frozenset[str]:
    """Return ``IMAGE_ENDINGS`` and those of ``OPTIONAL_ENDINGS`` whose package is installed."""
    return IMAGE_ENDINGS | {ending for ending, package in OPTIONAL_ENDINGS.items() if find_spec(package)}


def is_ignored(name: str) -> bool:
    """Return whether the name of a file or folder is hidden or one of ``SYSTEM_NAMES``."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def check_exists(path: Path) -> None:
    """Raise ConfigError for a path that does not exist, and for one that may not be looked at."""
    if not path_exists(path, ConfigError):
        # A path made from https://host/a.jpg has one slash less.
        address = str(path).partition("/")[0][2:].endswith(":")
        hint = "fetch it first: this takes files" if address else "check the spelling and the folder"
        raise ConfigError(f"no such file or directory: {str(path)!r}", hint)


def check_has_images(paths: Iterable[Path]) -> None:
    """Raise ConfigError for a path that does not exist, and for a folder without an image."""
    for path in paths:
        files = find_images([path])
        if next(iter(files), None) is None:
            raise no_images_error(str(path), files.skipped)


def no_images_error(where: str, skipped: Skipped) -> ConfigError:
    """Return the error that ``where`` holds no images."""
    return ConfigError(f"no images in {where}", describe_skipped(skipped, where) or "give a folder of .jpg, .png, …")


def read_folder(path: Path, root: Path | None = None, more_endings: Collection[str] = ()) -> Folder:
    """List a folder, which may hold a million files; ``more_endings`` count as images too. Raises OSError.

    A link to a folder that contains ``path`` or ``root`` is not followed but noted.
    """
    images, folders, notes = [], [], list[str]()
    counts, hidden, system_folders = Counter[str](), 0, 0
    with os.scandir(path) as entries:              # states the kind of an entry without a call per file
        for entry in entries:
            is_folder = _is_folder(entry)
            if _OWN_FILES.fullmatch(entry.name):
                continue
            if is_ignored(entry.name):
                hidden, system_folders = hidden + (not is_folder), system_folders + is_folder
            elif is_folder and entry.is_symlink() and _contains(target := Path(entry.path).resolve(), path, root):
                notes.append(f"{entry.path} leads back to {target}")
            elif is_folder:
                folders.append(entry.name)
            elif _is_image(entry, more_endings):
                images.append(entry.name)
            else:
                _count(counts, entry.name)
    return Folder(sorted(images), sorted(folders), Skipped(dict(counts), hidden, system_folders, tuple(notes)))


class NameFilter:
    """A filter for images among the names (with ``/``) that object stores and archives list; counts the others.

    Names alone decide: nothing is opened.
    """

    def __init__(self) -> None:
        self._counts, self._hidden, self._system_folders = Counter[str](), 0, set[str]()

    @property
    def skipped(self) -> Skipped:
        """The names rejected so far."""
        return Skipped(dict(self._counts), self._hidden, len(self._system_folders))

    def is_visible(self, name: str) -> bool:
        """Return True unless the file or a folder around it is hidden or belongs to a system."""
        *parents, file = PurePosixPath(name).parts or ("",)
        ignored = next((depth for depth, part in enumerate(parents, start=1) if part != ".." and is_ignored(part)), 0)
        if ignored:
            self._system_folders.add("/".join(parents[:ignored]))
        elif is_ignored(file):
            self._hidden += 1
        return not ignored and not is_ignored(file)

    def is_image(self, name: str) -> bool:
        """Return whether the name ends like an image, and count it if not."""
        if _ending(name) in image_endings():
            return True
        self.reject(name)
        return False

    def reject(self, name: str) -> None:
        """Count a name as skipped."""
        _count(self._counts, name)


def sift_names(names: Iterable[str]) -> tuple[list[str], Skipped]:
    """Return the images among file names, and the count of the others; see ``NameFilter``."""
    name_filter = NameFilter()
    return [name for name in names if name_filter.is_visible(name) and name_filter.is_image(name)], name_filter.skipped


def describe_skipped(skipped: Skipped, where: str) -> str:
    """Return ``passed over 5 files in photos: 4 .heic, 1 without an ending; 2 hidden or system files``.

    Empty where nothing was skipped. Advice on formats that are not read is at the end.
    """
    counts = sorted(skipped.by_ending.items(), key=lambda pair: (-pair[1], pair[0]))
    total, unlisted = sum(skipped.by_ending.values()), sum(count for _, count in counts[MAX_LISTED:])
    endings = [f"{count:,} {ending or 'without an ending'}" for ending, count in counts[:MAX_LISTED]]
    if unlisted:
        endings.append(f"{unlisted:,} others")
    clauses = [", ".join(endings)] if endings else []
    for count, kind in ((skipped.hidden, "file"), (skipped.system_folders, "folder")):
        if count:
            clauses.append(f"{count:,} hidden or system {_plural(kind, count)}")
    if not clauses:
        return ""
    files = f"{total:,} {_plural('file', total)} " if total else ""
    shown = where if where.isprintable() else repr(where)
    return f"passed over {files}in {shown}: {'; '.join(clauses)}{_advice(skipped.by_ending)}"


def _advice(by_ending: Mapping[str, int]) -> str:
    """Return how to have files of formats read that were skipped, in parentheses."""
    unread = sorted(by_ending.keys() - image_endings())
    optional = [ending for ending in unread if ending in OPTIONAL_ENDINGS]
    raw = [ending for ending in unread if ending in RAW_ENDINGS]
    advice = [f"convert {', '.join(raw)} to JPEG or TIFF"] if raw else []
    if optional:
        advice.append(f"pip install 'wideresnet[formats]' to read {', '.join(optional)}")
    return f" ({'; '.join(advice)})" if advice else ""


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _count(counts: Counter[str], name: str) -> None:
    """Count a file by its ending; endings beyond ``MAX_ENDINGS`` are counted together."""
    ending = _ending(name)
    counts[ending if ending in counts or len(counts) < MAX_ENDINGS else "other"] += 1


def _ending(name: str) -> str:
    """Return the ending in lower case with the dot; empty where it is none: ``.0001``, ``. of May``.

    An editor's copy of an image, ``a.jpg~`` or ``a.jpg_original``, has an ending that no image has.
    """
    ending = os.path.splitext(name)[1].lower()
    letters = ending[1:]
    if _BACKUP.match(ending):
        return ending
    return ending if letters.isascii() and letters.isalnum() and not letters.isdecimal() and len(letters) <= 12 else ""


def _is_read_itself(folder: Path, root: Path) -> bool:
    """Return whether ``folder`` is a link to a visible folder in ``root``."""
    if not folder.is_symlink() or not (target := folder.resolve()).is_relative_to(top := root.resolve()):
        return False
    return not any(map(is_ignored, target.relative_to(top).parts))


def _contains(folder: Path, *paths: Path | None) -> bool:
    return any(path.resolve().is_relative_to(folder) for path in paths if path)


def _is_image(entry: os.DirEntry[str], more_endings: Collection[str]) -> bool:
    """Decide by the ending; without one, by the signature that a regular file begins with."""
    if ending := _ending(entry.name):
        return ending in image_endings() or ending in more_endings
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb", buffering=0) as file:
            kind = image_format(file.read(64))
    except OSError:
        return False
    return kind is not None and kind not in AMBIGUOUS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:                                # a link in a circle
        return False
