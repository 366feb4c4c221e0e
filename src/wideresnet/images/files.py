"""Which files of a folder are images, and what was passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from wideresnet.errors import ConfigError
from wideresnet.images.sniff import image_format
from wideresnet.records import Skipped

# What images.decode reads, by the endings in use.
IMAGE_ENDINGS = frozenset(
    f".{ending}"
    for kinds in ("jpg jpeg jpe jfif png apng gif webp bmp", "tif tiff ppm pgm pbm pnm pfm jp2 j2k avif")
    for ending in kinds.split()
)
# Endings of formats that packages of the extra "formats" read, and which package.
OPTIONAL_ENDINGS = {".heic": "pillow_heif", ".heif": "pillow_heif", ".hif": "pillow_heif", ".jxl": "imagecodecs"}
RAW_ENDINGS = frozenset((".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"))
# What systems, network disks and tools leave in folders, in lower case; hidden names begin with a dot anyway.
SYSTEM_NAMES = frozenset(
    (
        "__macosx", "__pycache__", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
        "lost+found", "$recycle.bin", "found.000", "system volume information", "network trash folder",
        "temporary items", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
    )
)  # fmt: skip
UNCLEAR = ("BMP", "PPM", "NPZ")                    # signatures so short or common that text may begin with them
MOST_ENDINGS, SHOWN = 100, 8                       # counted apart; in a line


@dataclass(frozen=True)
class Folder:
    """Names of the images and of the subfolders that lie directly in a folder, sorted, and what else does."""

    images: list[str]
    folders: list[str]
    skipped: Skipped

    def with_images(self, beside: str) -> Skipped:
        """What was passed over where the images are, too: they lie ``beside`` class folders or splits."""
        count = len(self.images)
        notes = (f"{count:,} {_plural('image', count)} beside {beside}",) if count else ()
        return self.skipped + Skipped(notes=notes)


class ImageFiles:
    """The files to read at ``paths``, found anew whenever it is iterated; see ``find_images``.

    ``skipped`` is what was passed over so far.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.skipped = Skipped()

    def __iter__(self) -> Iterator[Path]:
        self.skipped = Skipped()
        for path in self.paths:
            refuse_missing(path)
            if path.is_dir():
                yield from self._walk(path)
            else:
                yield path

    def _walk(self, root: Path) -> Iterator[Path]:
        seen: set[tuple[int, int]] = set()
        levels = [self._entries(root, seen, root)]       # the folders we are in, the innermost last
        while levels:
            for path, is_folder in levels[-1]:
                if is_folder:
                    levels.append(self._entries(path, seen, root))
                    break
                yield path
            else:
                levels.pop()

    def _entries(self, path: Path, seen: set[tuple[int, int]], root: Path) -> Iterator[tuple[Path, bool]]:
        """Images and subfolders by name, and which of the two each is; nothing if the folder was seen before."""
        try:
            identity = path.stat()
            if (identity.st_dev, identity.st_ino) in seen:
                return
            seen.add((identity.st_dev, identity.st_ino))
            folder = read_folder(path, root)
        except OSError:
            yield path, False
            return
        self.skipped += folder.skipped
        names = [*((name, False) for name in folder.images), *((name, True) for name in folder.folders)]
        for name, is_folder in sorted(names):
            yield path / name, is_folder


def find_images(paths: Iterable[Path]) -> ImageFiles:
    """Every file named in ``paths`` whatever its ending, and the images in every folder named.

    Folders are walked recursively in the order of ``sorted(paths)``, one folder at a time, however many files there
    are. In them ``image_endings`` count (in either case), and files without an ending that begin as an image does;
    hidden and system names are passed over. Each real folder is visited once, so that links cannot go in circles. A
    subfolder that may not be listed is yielded itself, to be reported as one failure among the images; so is a pipe
    called like an image.

    Iterating raises ConfigError for a path that does not exist.
    """
    return ImageFiles(paths)


@cache
def image_endings() -> frozenset[str]:
    """``IMAGE_ENDINGS``, and the optional ones whose package is installed."""
    return IMAGE_ENDINGS | {ending for ending, package in OPTIONAL_ENDINGS.items() if find_spec(package)}


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden, or kept by a system beside a person's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def refuse_missing(path: Path) -> None:
    """Raise ConfigError for a path that does not exist."""
    if not path.exists():
        raise ConfigError(f"no file or folder {str(path)!r}", hint="check the spelling and the folder")


def refuse_empty(paths: Iterable[Path]) -> None:
    """Raise ConfigError for a path that does not exist and for a folder without an image."""
    for path in paths:
        files = find_images([path])
        if next(iter(files), None) is None:
            raise no_images(str(path), files.skipped)


def no_images(where: str, skipped: Skipped) -> ConfigError:
    """The error that nothing is left to read in ``where``."""
    hint = describe_skipped(skipped, where) or "give a folder of .jpg, .png, …"
    return ConfigError(f"no images in {where}", hint)


def read_folder(path: Path, root: Path | None = None) -> Folder:
    """What lies directly in a folder, which may hold a million files. Raises OSError.

    Links to a folder that contains it, or ``root``, are in ``notes``: they would add what lies elsewhere.
    """
    images, folders, notes = [], [], list[str]()
    counts, hidden, system_folders = Counter[str](), 0, 0
    with os.scandir(path) as entries:              # knows what is a folder without a look at each file
        for entry in entries:
            is_folder = _is_folder(entry)
            if is_ignored(entry.name):
                hidden, system_folders = hidden + (not is_folder), system_folders + is_folder
            elif is_folder and entry.is_symlink() and _contains(target := Path(entry.path).resolve(), path, root):
                notes.append(f"{entry.path} leads back to {target}")
            elif is_folder:
                folders.append(entry.name)
            elif _is_image(entry):
                images.append(entry.name)
            else:
                _count(counts, entry.name)
    return Folder(sorted(images), sorted(folders), Skipped(dict(counts), hidden, system_folders, tuple(notes)))


class NameFilter:
    """Choice of the images among file names with ``/`` between their parts, as stores and archives list them.

    Names alone decide: nothing is opened. What is rejected is counted.
    """

    def __init__(self) -> None:
        self._counts, self._hidden, self._system_folders = Counter[str](), 0, set[str]()

    @property
    def skipped(self) -> Skipped:
        """What was rejected so far."""
        return Skipped(dict(self._counts), self._hidden, len(self._system_folders))

    def is_visible(self, name: str) -> bool:
        """Whether neither the file nor a folder around it is hidden or a system's."""
        *parents, file = PurePosixPath(name).parts
        ignored = next((depth for depth, part in enumerate(parents, start=1) if part != ".." and is_ignored(part)), 0)
        if ignored:
            self._system_folders.add("/".join(parents[:ignored]))
        elif is_ignored(file):
            self._hidden += 1
        return not ignored and not is_ignored(file)

    def is_image(self, name: str) -> bool:
        """Whether its ending is that of an image."""
        if _ending(name) in image_endings():
            return True
        self.reject(name)
        return False

    def reject(self, name: str) -> None:
        """Count a file as passed over."""
        _count(self._counts, name)


def sift_names(names: Iterable[str]) -> tuple[list[str], Skipped]:
    """The images among file names, and what else is there; see ``NameFilter``."""
    chosen = NameFilter()
    return [name for name in names if chosen.is_visible(name) and chosen.is_image(name)], chosen.skipped


def describe_skipped(skipped: Skipped, where: str) -> str:
    """One line: ``passed over 5 files in photos: 4 .heic, 1 without an ending; 2 hidden or system files``.

    Empty where nothing was passed over. It ends with what can be done about formats that are not read.
    """
    counts = sorted(skipped.by_ending.items(), key=lambda pair: (-pair[1], pair[0]))
    total, rest = sum(skipped.by_ending.values()), sum(count for _, count in counts[SHOWN:])
    words = [f"{count:,} {ending or 'without an ending'}" for ending, count in counts[:SHOWN]]
    parts = [", ".join([*words, *([f"{rest:,} others"] if rest else [])])] if counts else []
    for count, kind in ((skipped.hidden, "file"), (skipped.system_folders, "folder")):
        if count:
            parts.append(f"{count:,} hidden or system {_plural(kind, count)}")
    if not parts:
        return ""
    files = f"{total:,} {_plural('file', total)} " if total else ""
    shown = where if where.isprintable() else repr(where)
    return f"passed over {files}in {shown}: {'; '.join(parts)}{_advice(skipped.by_ending)}"


def _advice(by_ending: Mapping[str, int]) -> str:
    """What can be done about files of formats that are not read."""
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
    """Count a file by its ending; endings beyond ``MOST_ENDINGS`` are counted together."""
    ending = _ending(name)
    counts[ending if ending in counts or len(counts) < MOST_ENDINGS else "other"] += 1


def _ending(name: str) -> str:
    """In lower case and with the dot; empty for what is no ending: ``.0001``, ``. of May``."""
    ending = os.path.splitext(name)[1].lower()
    letters = ending[1:]
    return ending if letters.isascii() and letters.isalnum() and not letters.isdecimal() and len(letters) <= 12 else ""


def _contains(folder: Path, *paths: Path | None) -> bool:
    return any(path.resolve().is_relative_to(folder) for path in paths if path)


def _is_image(entry: os.DirEntry[str]) -> bool:
    """By its ending; without one, by the signature that a regular file begins with."""
    if ending := _ending(entry.name):
        return ending in image_endings()
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb", buffering=0) as file:
            kind = image_format(file.read(64))
    except OSError:
        return False
    return kind is not None and kind not in UNCLEAR


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:                                # a link in a circle
        return False
