"""Files with the same bytes are answered once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from wideresnet.errors import ImageError
from wideresnet.images.decode import read_encoded
from wideresnet.records import Failure, Item, Prediction

Answer = Prediction | Failure
REMEMBERED = 100_000                               # answers; the ones used longest ago are forgotten
WAITING = 10_000                                   # copies in a row before one is answered anew


def answer_once(
    answer: Callable[[Iterator[Item]], Iterator[Answer]],
    items: Iterable[Item],
    remembered: int = REMEMBERED,
    waiting: int = WAITING,
) -> Iterator[Answer]:
    """``answer(items)``, with each picture that was answered before given its answer again, under its own path.

    One answer an item, in order. ``answer`` gives one for each item it is handed, in order, and may pull ahead.
    Memory is bounded by ``remembered`` answers (more than twice ``waiting``) and ``waiting`` paths, so far-off
    copies may be answered anew.
    """
    known: OrderedDict[bytes, Answer | None] = OrderedDict()       # None: not answered yet
    queue: deque[tuple[str, bytes, bool]] = deque()                # path, hash, whether it was handed on

    def fresh() -> Iterator[Item]:
        for item in items:
            key, item = _with_hash(item)
            new = not key or key not in known or len(queue) >= waiting
            queue.append((item.path, key, new))
            known.setdefault(key, None)
            known.move_to_end(key)                 # not forgotten while a copy waits for it
            if new:
                yield item

    def copies() -> Iterator[Answer]:
        """Answers to the copies at the head of the queue: what they are copies of was answered before."""
        while queue and not queue[0][2]:
            path, key, _ = queue.popleft()
            original = known[key]
            assert original is not None
            yield replace(original, path=path)

    for found in answer(fresh()):
        yield from copies()
        _, key, _ = queue.popleft()
        known[key] = found
        yield found
        yield from copies()
        while len(known) > remembered and known[next(iter(known))] is not None:
            known.popitem(last=False)
    yield from copies()


def _with_hash(item: Item) -> tuple[bytes, Item]:
    """A hash of the file's bytes, and the item with the bytes, which are read once. Empty where there is no file."""
    if not isinstance(item.source, Path):
        return b"", item
    try:
        data = read_encoded(item.source)
    except ImageError:
        return b"", item                           # fails again where failures are reported
    return hashlib.blake2b(data, digest_size=16).digest(), replace(item, source=data)
