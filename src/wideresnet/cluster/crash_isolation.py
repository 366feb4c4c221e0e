"""Images that end the process which decodes them, found out by processes that may end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from wideresnet.errors import ImageError
from wideresnet.images.loader import load_crop
from wideresnet.records import Exif, Item, Preprocess

Decode = Callable[..., object]                     # as ``load_crop``
LONGEST = 120.0                                    # seconds for one image; a decoder that hangs is ended too
ERROR = "the process that decoded it came to an end"
HINT = "look at the file with another program; it may be made to crash decoders"


def crashing(items: Sequence[Item], spec: Preprocess, exif: Exif, decode: Decode = load_crop) -> set[int]:
    """The places of ``items`` whose decoding ends its process, or never ends. Every other one is decoded once."""
    places: set[int] = set()
    start = 0
    while start < len(items):
        start += _decoded(items[start:], partial(decode, spec=spec, exif=exif))
        if start < len(items):
            places.add(start)
            start += 1
    return places


def _decoded(items: Sequence[Item], decode: Callable[[Any], object]) -> int:
    """How many of ``items`` a process of its own decodes, or refuses in order, before it ends."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_decode_each, args=(items, decode, sender), daemon=True)
    child.start()
    sender.close()
    count = 0
    with receiver, suppress(EOFError):
        while receiver.poll(LONGEST):
            receiver.recv()
            count += 1
    child.kill()
    child.join()
    child.close()
    return count


def _decode_each(items: Sequence[Item], decode: Callable[[Any], object], sender: Connection) -> None:
    for item in items:
        with suppress(ImageError):
            decode(item.source)
        sender.send(None)
