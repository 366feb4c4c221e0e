"""Files with the same bytes are answered once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wideresnet.errors import ImageError
from wideresnet.images.decode import DEFAULT_LIMITS, read_encoded
from wideresnet.records import EncodedImage, Failure, Item, Prediction

REMEMBERED = 100_000                               # answers; the ones used longest ago are forgotten
WAITING = 10_000                                   # copies in a row before one is answered anew
HELD = 2**22                                       # bytes of a file that may wait in memory; larger ones are read again


@dataclass
class _Original:
    """The first of some copies, answered or yet to be."""

    answer: Prediction | Failure | None = None


def answer_once(
    answer: Callable[[Iterator[Item]], Iterator[Prediction | Failure]],
    items: Iterable[Item],
    remembered: int = REMEMBERED,
    waiting: int = WAITING,
) -> Iterator[Prediction | Failure]:
    """``answer(items)``, with each image that was answered before given its answer again, under its own path.

    One answer an item, in order. ``answer`` gives one for each item it is handed, in order, and may pull ahead.
    Memory is bounded by ``remembered`` answers (0.1 GB for 100,000 of five classes) and ``waiting`` paths, so
    far-off copies may be answered anew.
    """
    known: OrderedDict[bytes, _Original] = OrderedDict()
    queue: deque[tuple[str, _Original]] = deque()  # what was pulled and has not got its answer

    def fresh() -> Iterator[Item]:
        for item in items:
            key, item = with_hash(item)
            original = known.get(key)
            new = original is None or len(queue) >= waiting
            if original is None or new:
                original = _Original()
            queue.append((item.path, original))
            if key:
                known[key] = original
                known.move_to_end(key)
                if len(known) > remembered:        # a copy in the queue still holds what it waits for
                    known.popitem(last=False)
            if new:
                yield item

    def copies() -> Iterator[Prediction | Failure]:
        """Answers to the copies at the head of the queue: what they are copies of was answered before."""
        while queue and (found := queue[0][1].answer) is not None:
            path, _ = queue.popleft()
            yield replace(found, path=path)

    for found in answer(fresh()):
        yield from copies()
        _, original = queue.popleft()
        original.answer = found
        yield found
        yield from copies()
    yield from copies()


def remembered_for(k: int) -> int:
    """As many answers of ``k`` classes as take the memory of ``REMEMBERED`` with five, and no more than these."""
    return min(REMEMBERED, 5 * REMEMBERED // k)


def with_hash(item: Item) -> tuple[bytes, Item]:
    """A hash of the file's bytes, and the item with the bytes, which are read once. Empty where there is no file."""
    try:
        if isinstance(item.source, EncodedImage):
            data = item.source.read(DEFAULT_LIMITS.bytes)
        elif isinstance(item.source, Path) and item.source.is_file():
            data = read_encoded(item.source)
        elif isinstance(item.source, bytes):
            data = item.source
        else:
            return b"", item
    except ImageError:
        return b"", item                           # fails again where failures are reported
    return hashlib.blake2b(data, digest_size=16).digest(), item if len(data) > HELD else replace(item, source=data)
