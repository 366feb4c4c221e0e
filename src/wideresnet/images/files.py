"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wideresnet.errors import ConfigError

# What images.decode reads, by the endings in use.
PICTURE_ENDINGS = frozenset(
    f".{ending}"
    for kinds in (
        "jpg jpeg jpe jfif png apng gif webp bmp",
        "tif tiff ppm pgm pbm pnm pfm jp2 j2k avif",
        "heic heif hif jxl",                       # with the extra "formats", and else a failure that names it
    )
    for ending in kinds.split()
)


def find_pictures(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file named in ``paths`` whatever its ending, and the pictures in every folder named.

    Folders are walked recursively in the order of ``sorted(paths)``, one folder at a time, however
    many files there are. In them only ``PICTURE_ENDINGS`` count (in either case); what is hidden is
    skipped. Each real folder is visited once, so that links cannot go in circles. A subfolder
    that may not be listed is yielded itself, to be reported as one failure among the pictures.

    Raises ConfigError for a path that does not exist.
    """
    for path in paths:
        refuse_missing(path)
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def refuse_missing(path: Path) -> None:
    """Raise ConfigError for a path that does not exist."""
    if not path.exists():
        raise ConfigError(f"no file or folder {str(path)!r}", hint="check the spelling and the folder")


def _walk(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    levels = [_entries(root, seen)]                # the folders we are in, the innermost last
    while levels:
        for path, is_folder in levels[-1]:
            if is_folder:
                levels.append(_entries(path, seen))
                break
            yield path
        else:
            levels.pop()


def _entries(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, bool]]:
    """Pictures and subfolders of a folder by name, and which of the two each is; nothing if it was seen before."""
    names, folders = [], set()
    try:
        identity = folder.stat()
        if (identity.st_dev, identity.st_ino) in seen:
            return
        seen.add((identity.st_dev, identity.st_ino))
        with os.scandir(folder) as entries:        # knows what is a folder without a look at each file
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.add(entry.name)
                elif os.path.splitext(entry.name)[1].lower() not in PICTURE_ENDINGS:
                    continue
                names.append(entry.name)           # not the entries: a folder may hold a million
    except OSError:
        yield folder, False
        return
    for name in sorted(names):
        yield folder / name, name in folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:                                # a link in a circle
        return False
