"""Which files of a folder are pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wideresnet.errors import ConfigError

# What images.decode reads, by the endings in use.
PICTURE_ENDINGS = frozenset(
    f".{ending}"
    for kinds in ("jpg jpeg jpe jfif png gif webp bmp", "tif tiff ppm pgm jp2 avif")
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
    stack = [root]                                 # the next path to look at lies on top
    while stack:
        path = stack.pop()
        if not path.is_dir():
            if path.suffix.lower() in PICTURE_ENDINGS:
                yield path
            continue
        try:
            identity = path.stat()
            if (identity.st_dev, identity.st_ino) in seen:
                continue
            seen.add((identity.st_dev, identity.st_ino))
            names = [name for name in os.listdir(path) if not name.startswith(".")]
        except OSError:
            yield path
            continue
        stack.extend(path / name for name in sorted(names, reverse=True))
