"""Finding images that crash the decoder, by decoding them in child processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from wideresnet.errors import DataError, ImageError
from wideresnet.images.loader import load_crop
from wideresnet.records import Exif, Item, Preprocess

Decode = Callable[..., object]                     # a function like ``load_crop``
TIMEOUT = 120.0                                    # seconds for one image; a decoder that hangs counts as crashed
ERROR = "decoding crashed or hung"
HINT = "check the file with another program; it may be crafted to crash decoders"


def find_crashing_images(items: Sequence[Item], spec: Preprocess, exif: Exif, decode: Decode = load_crop) -> set[int]:
    """Return the indices of ``items`` whose decoding crashes or hangs. Every other item is decoded once.

    Raises DataError where no child process starts.
    """
    crashing: set[int] = set()
    start = 0
    while start < len(items):
        start += _count_decoded(items[start:], partial(decode, spec=spec, exif=exif))
        if start < len(items):
            crashing.add(start)
            start += 1
    return crashing


def _count_decoded(items: Sequence[Item], decode: Callable[[Any], object]) -> int:
    """Return how many of ``items`` a child process decodes, or rejects with ImageError, in order before it ends.

    Raises DataError where the child does not come to the first: that says nothing about the images.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_decode_all, args=(items, decode, sender), daemon=True)
    child.start()
    sender.close()
    count = -1                                     # its first message says that it has started
    with receiver, suppress(EOFError):
        while receiver.poll(TIMEOUT):
            receiver.recv()
            count += 1
    child.kill()
    child.join()
    child.close()
    if count < 0:
        raise DataError("no process starts that decodes images", hint="look for the node's limits on memory")
    return count


def _decode_all(items: Sequence[Item], decode: Callable[[Any], object], sender: Connection) -> None:
    sender.send(None)
    for item in items:
        with suppress(ImageError):
            decode(item.source)
        sender.send(None)
