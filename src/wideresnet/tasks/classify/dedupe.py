"""Deduplication: files with the same bytes are classified once."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from wideresnet.datasets.copies import with_hash
from wideresnet.records import Failure, Item, Prediction

MAX_ANSWERS = 100_000                              # remembered; the least recently used are dropped
MAX_COPIES = 10_000                                # in a row before one is classified again


@dataclass
class _Original:
    """The first of several copies; ``answer`` is None until it is classified."""

    answer: Prediction | Failure | None = None


def answer_once(
    answer: Callable[[Iterator[Item]], Iterator[Prediction | Failure]],
    items: Iterable[Item],
    remembered: int = MAX_ANSWERS,
    waiting: int = MAX_COPIES,
) -> Iterator[Prediction | Failure]:
    """Yield ``answer(items)``, where copies of an earlier image get its answer under their own path.

    One answer per item, in order. ``answer`` yields one for each of its items, in order, and may read ahead.
    Memory is bounded by ``remembered`` answers (0.1 GB for 100,000 of five classes) and ``waiting`` paths, so
    distant copies may be classified again.
    """
    originals: OrderedDict[bytes, _Original] = OrderedDict()
    queue: deque[tuple[str, _Original]] = deque()  # items that were read and have no answer yet

    def fresh() -> Iterator[Item]:
        for item in items:
            key, item = with_hash(item)
            original = originals.get(key)
            new = original is None or len(queue) >= waiting
            if original is None or new:
                original = _Original()
            queue.append((item.path, original))
            if key:
                originals[key] = original
                originals.move_to_end(key)
                if len(originals) > remembered:        # a copy in the queue still holds its original
                    originals.popitem(last=False)
            if new:
                yield item

    def copies() -> Iterator[Prediction | Failure]:
        """Yield the answers of the copies at the head of the queue whose originals are classified."""
        while queue and (known_answer := queue[0][1].answer) is not None:
            path, _ = queue.popleft()
            yield replace(known_answer, path=path)

    for new_answer in answer(fresh()):
        yield from copies()
        _, original = queue.popleft()
        original.answer = new_answer
        yield new_answer
        yield from copies()
    yield from copies()


def remembered_for(k: int) -> int:
    """Return the number of answers of ``k`` classes that need the memory of ``MAX_ANSWERS`` with five, or fewer."""
    return min(MAX_ANSWERS, 5 * MAX_ANSWERS // k)
