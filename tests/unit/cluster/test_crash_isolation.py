"""Images that end the process that decodes them."""

from __future__ import annotations

import os
import time

import pytest

from wideresnet.cluster import crash_isolation
from wideresnet.errors import ImageError
from wideresnet.records import Exif, Item, Preprocess

SPEC = Preprocess(resize=8, crop=8)


def decode(source: bytes, spec: Preprocess, *, exif: Exif) -> None:
    """Runs in a process of its own."""
    if source == b"crash":
        os.abort()
    if source == b"hang":
        time.sleep(600)
    if source == b"bad":
        raise ImageError("no image")


def crashing_indices(*sources: bytes) -> set[int]:
    items = [Item(str(number), source) for number, source in enumerate(sources)]
    return crash_isolation.find_crashing_images(items, SPEC, "ignore", decode)


def test_those_that_crash_are_found_wherever_they_stand() -> None:
    assert crashing_indices(b"crash", b"good", b"crash", b"bad", b"crash") == {0, 2, 4}


def test_unreadable_ones_are_none() -> None:
    assert crashing_indices(b"bad", b"good") == set()
    assert crashing_indices() == set()


def test_one_that_never_ends_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_isolation, "TIMEOUT", 8.0)    # the first answer waits for a Python to start
    assert crashing_indices(b"good", b"hang", b"good") == {1}
