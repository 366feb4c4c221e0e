"""Ordered batches of many images, decoded in threads, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from functools import partial
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, ImageError, errors_as
from wideresnet.images.crops import Crops, ImageReader, LaterCrops
from wideresnet.images.decode import DEFAULT_LIMITS, Limits, read_encoded, read_regular
from wideresnet.images.preprocess import is_crop
from wideresnet.machine import available_cpus
from wideresnet.pipes import read_file, special_kind
from wideresnet.records import Batch, EncodedImage, Exif, Failure, Item, Preprocess, Source

Outcome = tuple[Item, Crops | Failure]
Input = TypeVar("Input")
Result = TypeVar("Result")


def load_batches(
    items: Iterable[Item],
    spec: Preprocess | Sequence[Preprocess],
    *,
    batch_size: int,
    threads: int | None = None,
    exif: Exif = "ignore",
    reduced: bool = False,
) -> Generator[Batch, None, None]:
    """Yield batches of ``batch_size`` consecutive items, in order; the last may be smaller.

    An image that cannot be read is a Failure in its batch. ``items`` may be endless: it is iterated in the calling
    thread, at most two batches ahead of the batch that was last yielded. Closing the iterator (or an error in the
    caller's loop) ends the threads. Decoding runs in ``threads`` threads beside the caller, None: one for each CPU of
    this process; with 1 in the calling thread, where arrays that are crops already are always copied. ``reduced``: see
    ``load_crop``. With several ``spec``, the first makes ``pixels`` and the others ``member_crops``, whose rows are
    made when they are read, from one decoded image.

    Raises ConfigError for a batch size or number of threads below 1.
    """
    threads = available_cpus() if threads is None else threads
    if not isinstance(batch_size, Integral) or batch_size < 1 or threads < 1:
        raise ConfigError(f"batch size and threads are whole numbers from 1, got {batch_size!r} and {threads}")
    specs = [spec] if isinstance(spec, Preprocess) else spec
    reader = ImageReader(specs, DEFAULT_LIMITS, exif, reduced=reduced)
    read = partial(_crops_or_failure, reader=reader)
    in_threads = map_ahead(read, items, threads, 2 * batch_size, "decode", partial(_is_crop, specs=specs))
    outcomes = (read(item) for item in items) if threads == 1 else in_threads
    return _batches(outcomes, reader, batch_size)


def load_crop(
    source: str | Source | Item,
    spec: Preprocess,
    *,
    exif: Exif = "ignore",
    reduced: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> NDArray[np.uint8]:
    """Decode and preprocess one image: RGB uint8 [S, S, 3], S = spec.crop.

    ``source`` is a file (a str is a path), encoded bytes, RGB uint8 [H, W, 3], or an Item, of which only regular files
    are opened. The result equals ``preprocess(decode(source), spec)`` and is computed faster. With ``reduced`` large
    JPEGs are decoded at a fraction of their size, which is faster still, and equal within the tolerances of
    ``images/preprocess``. What may take long is decoded in a process that is killed after ``limits.seconds``. Raises
    ImageError, which names the path of a file.
    """
    if isinstance(source, str):
        source = Path(source)
    path = source.path if isinstance(source, Item) else source if isinstance(source, Path) else None
    with errors_as(ImageError, ImageError, str(path)) if path is not None else nullcontext():
        return _load_crops(source, ImageReader([spec], limits, exif, reduced=reduced))[0]


def named_item(path: Path) -> Item:
    """Return the item of a file that the user named. A pipe is read at once; if that fails, reading the item does."""
    if special_kind(path):
        with suppress(OSError):
            return Item(str(path), read_file(path, DEFAULT_LIMITS.bytes + 1))
    return Item(str(path), path)


def _load_crops(source: Source | Item, reader: ImageReader) -> Crops:
    if isinstance(source, Item):
        source = read_regular(source.source, reader.limits) if isinstance(source.source, Path) else source.source
    if isinstance(source, np.ndarray):
        return reader.crop(source)
    if isinstance(source, EncodedImage):
        source = source.read(reader.limits.bytes)
    return reader.read_anywhere(read_encoded(source, reader.limits) if isinstance(source, Path) else source)


def _crops_or_failure(item: Item, reader: ImageReader) -> Outcome:
    try:
        return item, _load_crops(item, reader)
    except ImageError as error:
        return item, Failure(path=item.path, error=error.message, hint=error.hint)


def _is_crop(item: Item, specs: Sequence[Preprocess]) -> bool:
    return isinstance(item.source, np.ndarray) and all(is_crop(item.source, spec) for spec in specs)


def map_ahead(
    read: Callable[[Input], Result], items: Iterable[Input], threads: int, ahead: int, name: str,
    is_quick: Callable[[Input], bool] = lambda _: False,
) -> Generator[Result, None, None]:  # fmt: skip
    """Yield ``map(read, items)``, computed in threads called ``name``, at most ``ahead`` items before the last.

    Items for which ``is_quick`` is true are read in the calling thread: to wake another one takes longer.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    running: deque[Callable[[], Result]] = deque()
    try:
        for item in items:
            running.append(partial(read, item) if is_quick(item) else pool.submit(read, item).result)
            if len(running) >= ahead:
                yield running.popleft()()
        while running:
            yield running.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(
    outcomes: Generator[Outcome, None, None], reader: ImageReader, batch_size: int
) -> Generator[Batch, None, None]:
    with closing(outcomes):                        # now and not when it is collected: its threads end
        while group := list(islice(outcomes, batch_size)):
            yield _batch(group, reader)


def _batch(group: list[Outcome], reader: ImageReader) -> Batch:
    readable = [(item, crops) for item, crops in group if not isinstance(crops, Failure)]
    failed = {index: outcome for index, (_, outcome) in enumerate(group) if isinstance(outcome, Failure)}
    images, side = [crops for _, crops in readable], reader.specs[0].crop
    return Batch(
        pixels=np.stack([crops[0] for crops in images]) if images else np.empty((0, side, side, 3), np.uint8),
        member_crops=tuple(LaterCrops(reader, images, index) for index in range(1, len(reader.specs))),
        items=tuple(item for item, _ in readable),
        failures=tuple(failed.values()),
        failed=tuple(failed),
    )
