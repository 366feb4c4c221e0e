"""Images of a command line as items: files, folders, shards and standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from wideresnet.datasets.inputs import PathImages
from wideresnet.datasets.shards import check_inputs, find_shards
from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.images.decode import DEFAULT_LIMITS
from wideresnet.pipes import read_open
from wideresnet.records import Item, Skipped

STDIN = Path("-")


def check_sources(paths: Iterable[Path]) -> None:
    """Raise ConfigError for a path that is missing or cannot be read, before any work."""
    paths = list(paths)
    if STDIN in paths and sys.stdin is None:
        raise ConfigError("cannot read standard input: it is closed", hint="name a file instead of -")
    check_inputs(path for path in paths if path != STDIN)


class InputImages:
    """An iterable of the images in files, folders and shards, unlabelled; see ``PathImages``.

    ``skipped`` counts the files that were not read in the folders and shards iterated so far. With ``stdin`` the path
    "-" is standard input, read at once. Raises ConfigError if that is empty.
    """

    def __init__(self, paths: Iterable[Path], *, stdin: bool = False) -> None:
        self._paths, self.skipped = tuple(paths), Skipped()
        self._stdin = _read_stdin() if stdin and STDIN in self._paths else b""

    def __iter__(self) -> Iterator[Item]:
        self.skipped = Skipped()
        for path in self._paths:
            if self._stdin and path == STDIN:
                yield Item("-", self._stdin)
                continue
            images = PathImages(path, several=len(self._paths) > 1)
            yield from images
            self.skipped += images.skipped


def containers(paths: Iterable[Path]) -> list[Path]:
    """Return the folders and shards among ``paths``: what holds images and is none itself."""
    return [path for path in paths if path.is_dir() or find_shards(path)]


def _read_stdin() -> bytes:
    with os_errors_as(ConfigError, "cannot read standard input", "name a file instead of -"):
        data = read_open(sys.stdin.buffer, DEFAULT_LIMITS.bytes + 1)
    if not data:
        raise ConfigError("standard input is empty", hint="send an image to it: wrn classify - < photo.jpg")
    return data
