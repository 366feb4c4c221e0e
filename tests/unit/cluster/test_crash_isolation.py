"""Finding images that crash the decoder."""

from __future__ import annotations

import os
import time

import pytest

from wideresnet.cluster import crash_isolation
from wideresnet.errors import DataError, ImageError
from wideresnet.records import Exif, Item, Preprocess

SPEC = Preprocess(resize=8, crop=8)


def decode(source: bytes, spec: Preprocess, *, exif: Exif) -> None:
    """Crash, hang or fail as ``source`` says; runs in a child process."""
    if source == b"crash":
        os.abort()
    if source == b"hang":
        time.sleep(600)
    if source == b"bad":
        raise ImageError("no image")


def crashing_indices(*sources: bytes) -> set[int]:
    items = [Item(str(number), source) for number, source in enumerate(sources)]
    return crash_isolation.find_crashing_images(items, SPEC, "ignore", decode)


def test_crashing_images_are_found_at_any_index() -> None:
    assert crashing_indices(b"crash", b"good", b"crash", b"bad", b"crash") == {0, 2, 4}


def test_unreadable_images_do_not_count_as_crashing() -> None:
    assert crashing_indices(b"bad", b"good") == set()
    assert crashing_indices() == set()


def test_a_hanging_image_counts_as_crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_isolation, "TIMEOUT", 8.0)    # the first answer waits for a Python to start
    assert crashing_indices(b"good", b"hang", b"good") == {1}


class Ending:
    """A value that ends the process which reads it, as a limit on memory would."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


def test_a_process_that_does_not_start_says_nothing_about_images() -> None:
    """All of them were taken for crashing ones, and stayed failures in the finished part."""
    items = [Item("1", b"good"), Item("2", Ending())]    # type: ignore[arg-type]
    with pytest.raises(DataError, match="no process starts"):
        crash_isolation.find_crashing_images(items, SPEC, "ignore", decode)
