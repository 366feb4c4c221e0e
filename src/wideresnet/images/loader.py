"""Ordered batches of many images, decoded in threads, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, ImageError, check_choice, errors_as
from wideresnet.images.decode import DEFAULT_LIMITS, Limits, read_encoded, read_regular
from wideresnet.images.isolated import decode_crops, decode_in_process, is_slow
from wideresnet.images.preprocess import preprocess
from wideresnet.images.workload import workload
from wideresnet.machine import available_cpus
from wideresnet.pipes import read_file, special_kind
from wideresnet.records import Batch, EncodedImage, Exif, Failure, Item, Preprocess, Source

Crops = tuple[NDArray[np.uint8], ...]              # of one image, by several preprocessings
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
    this process; with 1 in the calling thread. ``reduced``: see ``load_crop``. With several ``spec``, the first makes
    ``pixels`` and the others ``further``, from one decoded image.

    Raises ConfigError for a batch size or number of threads below 1.
    """
    threads = available_cpus() if threads is None else threads
    if batch_size < 1 or threads < 1:
        raise ConfigError(f"batch size and threads must be at least 1, got {batch_size} and {threads}")
    specs = [spec] if isinstance(spec, Preprocess) else spec
    read = partial(_crops_or_failure, specs=specs, exif=exif, reduced=reduced)
    in_threads = map_ahead(read, items, threads, 2 * batch_size, "decode")
    outcomes = (read(item) for item in items) if threads == 1 else in_threads
    return _batches(outcomes, [spec.crop for spec in specs], batch_size)


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
        return _load_crops(source, [spec], exif, reduced, limits)[0]


def decode_sized(
    data: bytes, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits
) -> tuple[Crops, tuple[int, int]]:
    """Decode encoded bytes once, in a process where that may take long, and preprocess them; see ``decode_crops``."""
    run = decode_in_process if is_slow(workload(data), limits) else decode_crops
    return run(data, specs, exif, reduced, limits)


def named_item(path: Path) -> Item:
    """Return the item of a file that the user named. A pipe is read at once; if that fails, reading the item does."""
    if special_kind(path):
        with suppress(OSError):
            return Item(str(path), read_file(path, DEFAULT_LIMITS.bytes + 1))
    return Item(str(path), path)


def _load_crops(
    source: Source | Item, specs: Sequence[Preprocess], exif: Exif, reduced: bool, limits: Limits
) -> Crops:
    check_choice("way to treat EXIF", exif, get_args(Exif))
    if isinstance(source, Item):
        source = read_regular(source.source, limits) if isinstance(source.source, Path) else source.source
    if isinstance(source, np.ndarray):
        return tuple(preprocess(source, spec) for spec in specs)
    if isinstance(source, EncodedImage):
        source = source.read(limits.bytes)
    data = read_encoded(source, limits) if isinstance(source, Path) else source
    return decode_sized(data, specs, exif, reduced, limits)[0]


def _crops_or_failure(item: Item, specs: Sequence[Preprocess], exif: Exif, reduced: bool) -> Outcome:
    try:
        return item, _load_crops(item, specs, exif, reduced, DEFAULT_LIMITS)
    except ImageError as error:
        return item, Failure(path=item.path, error=error.message, hint=error.hint)


def map_ahead(
    read: Callable[[Input], Result], items: Iterable[Input], threads: int, ahead: int, name: str
) -> Generator[Result, None, None]:
    """Yield ``map(read, items)``, computed in threads called ``name``, at most ``ahead`` items before the last."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            running.append(pool.submit(read, item))
            if len(running) >= ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(
    outcomes: Generator[Outcome, None, None], sides: Sequence[int], batch_size: int
) -> Generator[Batch, None, None]:
    with closing(outcomes):                        # now and not when it is collected: its threads end
        while group := list(islice(outcomes, batch_size)):
            yield _batch(group, sides)


def _batch(group: list[Outcome], sides: Sequence[int]) -> Batch:
    readable = [(item, crops) for item, crops in group if not isinstance(crops, Failure)]
    failed = {index: outcome for index, (_, outcome) in enumerate(group) if isinstance(outcome, Failure)}
    columns: Iterable[Crops] = zip(*(crops for _, crops in readable), strict=True)
    stacks = [*map(np.stack, columns)] if readable else [np.empty((0, side, side, 3), np.uint8) for side in sides]
    return Batch(
        pixels=stacks[0],
        further=tuple(stacks[1:]),
        items=tuple(item for item, _ in readable),
        failures=tuple(failed.values()),
        failed=tuple(failed),
    )
