"""Many images to ordered batches, decoded in threads, in bounded memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, ImageError, check_choice
from wideresnet.images.decode import DEFAULT_LIMITS, Limits, open_image, read_regular
from wideresnet.images.preprocess import KEPT, preprocess, preprocess_image, preprocess_large
from wideresnet.pipes import read_file, special_kind
from wideresnet.records import Batch, EncodedImage, Exif, Failure, Item, Preprocess, Source

Outcome = tuple[Item, NDArray[np.uint8] | Failure]


def load_batches(
    items: Iterable[Item],
    spec: Preprocess,
    *,
    batch_size: int,
    threads: int,
    exif: Exif = "ignore",
    reduced: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Batch]:
    """Batches of ``batch_size`` consecutive items, in order; the last may be smaller.

    What can't be read is a Failure in its batch. ``items`` may be endless: it is pulled from the
    calling thread, at most two batches ahead of the one that was last yielded. Closing the iterator
    (or an error in the caller's loop) ends the threads. Decoding runs in ``threads`` threads beside
    the caller; with 1 it runs in the calling thread. ``reduced``: see ``read_crop``.

    Raises ConfigError for a batch size or number of threads below 1.
    """
    if batch_size < 1 or threads < 1:
        raise ConfigError(f"batch size and threads must be at least 1, got {batch_size} and {threads}")
    read = partial(_read, spec=spec, exif=exif, reduced=reduced, limits=limits)
    outcomes = map(read, items) if threads == 1 else _in_threads(read, items, threads, 2 * batch_size)
    return _batches(outcomes, spec.crop, batch_size)


def read_crop(
    source: Source,
    spec: Preprocess,
    *,
    exif: Exif = "ignore",
    reduced: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> NDArray[np.uint8]:
    """A file, encoded bytes, an image in a file or RGB uint8 [H, W, 3] -> what the network sees: RGB uint8 [S, S, 3].

    The same as ``preprocess(decode(source), spec)``, sooner. With ``reduced`` large images are equal only within
    the tolerances of ``images/preprocess``, sooner still: JPEGs are decoded at a part of their size. Raises
    ImageError.
    """
    check_choice("way to treat EXIF", exif, get_args(Exif))
    if isinstance(source, np.ndarray):
        return preprocess(source, spec)
    if isinstance(source, EncodedImage):
        source = source.read(limits.bytes)
    antialiased = spec.interpolation != "opencv-bilinear"    # without, a reduced image gives quite another crop
    shortest = math.ceil(KEPT * spec.resize) if reduced and antialiased else 0
    image = open_image(source, exif=exif, alpha=spec.alpha, limits=limits, shortest=shortest)
    large = shortest and min(image.size) >= shortest
    return preprocess_large(image, spec) if large else preprocess_image(image, spec)


def read_item(
    item: Item, spec: Preprocess, *, exif: Exif = "ignore", reduced: bool = False, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.uint8]:
    """``read_crop`` of one of many images: of files only regular ones are opened. Raises ImageError."""
    source = read_regular(item.source, limits) if isinstance(item.source, Path) else item.source
    return read_crop(source, spec, exif=exif, reduced=reduced, limits=limits)


def named_item(path: Path) -> Item:
    """A file that a person named. A pipe is read at once; where no data come, reading the item says so."""
    if special_kind(path):
        try:
            return Item(str(path), read_file(path, DEFAULT_LIMITS.bytes + 1))
        except OSError:
            pass
    return Item(str(path), path)


def read_named_crop(
    source: str | Source | Item, spec: Preprocess, *, exif: Exif = "ignore"
) -> NDArray[np.uint8]:
    """``read_crop`` for a caller with one image: a str is a path, and an ImageError names it; see ``read_item``."""
    try:
        if isinstance(source, Item):
            return read_item(source, spec, exif=exif)
        return read_crop(Path(source) if isinstance(source, str) else source, spec, exif=exif)
    except ImageError as error:
        if not isinstance(source, str | Path | Item):
            raise
        path = source.path if isinstance(source, Item) else source
        raise ImageError(f"{path}: {error.message}", error.hint) from error


def _read(item: Item, spec: Preprocess, exif: Exif, reduced: bool, limits: Limits) -> Outcome:
    try:
        return item, read_item(item, spec, exif=exif, reduced=reduced, limits=limits)
    except ImageError as error:
        return item, Failure(path=item.path, error=error.message, hint=error.hint)


def _in_threads(
    read: Callable[[Item], Outcome], items: Iterable[Item], threads: int, ahead: int
) -> Iterator[Outcome]:
    """``map(read, items)`` with at most ``ahead`` items begun and not yet handed out."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    running: deque[Future[Outcome]] = deque()
    try:
        for item in items:
            running.append(pool.submit(read, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(outcomes: Iterator[Outcome], crop: int, batch_size: int) -> Iterator[Batch]:
    try:
        while group := list(islice(outcomes, batch_size)):
            yield _batch(group, crop)
    finally:
        # A generator that waits in a list of ours is closed now, not when it is collected.
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()


def _batch(group: list[Outcome], crop: int) -> Batch:
    readable = [(item, pixels) for item, pixels in group if not isinstance(pixels, Failure)]
    failed = {place: found for place, (_, found) in enumerate(group) if isinstance(found, Failure)}
    return Batch(
        pixels=np.stack([pixels for _, pixels in readable])
        if readable
        else np.empty((0, crop, crop, 3), np.uint8),
        items=tuple(item for item, _ in readable),
        failures=tuple(failed.values()),
        failed=tuple(failed),
    )
