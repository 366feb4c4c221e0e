"""Cascades: each image is answered by the first network that is sure of it (see ``records.Cascade``)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.engines.base import Engine, OutputsEngine
from wideresnet.errors import EngineError
from wideresnet.images.crops import LaterCrops
from wideresnet.logits import certainty, check_logits
from wideresnet.records import Cascade, CropsByRow, PassedOn

WAITING = 2**26                                    # bytes of crops that wait for a batch to fill, at most
LAST_THRESHOLD = -1.0                              # of the last member: less than any certainty
GROUP = 4                                          # batches for each stream of a later member, computed in one go

Crops = tuple[NDArray[np.uint8], *tuple[CropsByRow, ...]]   # a batch, by each of ``Cascade.specs``
Answered = tuple[NDArray[np.float32], NDArray[np.int64]]   # logits [N, C], and the member that answered [N]


@dataclass(eq=False)
class _PendingBatch:
    """A batch with its answers so far; ``unanswered`` of its images have none yet."""

    crops: Crops
    logits: NDArray[np.float32]
    member: NDArray[np.int64]
    unanswered: int

    def release(self, row: int) -> None:
        """Drop the decoded image of an answered row."""
        if isinstance(self.crops[-1], LaterCrops):
            self.crops[-1].release(row)


_Row = tuple[_PendingBatch, int]                   # one image: its batch, and its row there


class CascadeEngine(OutputsEngine):
    """The networks of a cascade as one engine.

    Images that a member passes on are collected in full batches for the next one, over many batches of the input. The
    members take turns, since each of them may use all threads.
    """

    def __init__(self, cascade: Cascade, members: Sequence[Engine]) -> None:
        self.cascade, self.info, self.members, specs = cascade, members[-1].info, members, cascade.specs
        self.passed_on, self._lock = PassedOn(cascade.point.passed_on95), threading.Lock()     # of all images so far
        self.crop_of = [next(i for i, s in enumerate(specs) if m.preprocess.same_crop(s)) for m in cascade.members]

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """See ``Engine``; raises EngineError if the members need different crops."""
        if len(self.cascade.specs) > 1:
            sides = ", ".join(str(spec.crop) for spec in self.cascade.specs)
            raise EngineError(f"the members of this cascade take different crops: {sides} pixels", "give images")
        return (logits for logits, _ in self.answers((batch,) for batch in batches))

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """See ``OutputsEngine``; a cascade has no others than the logits."""
        return ([logits] for logits in self.stream(batches))

    def run_member(self, member: int, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a member's logits of a batch of its own crops, in one stream, and which images it passes on.

        Raises EngineError for logits that are not finite.
        """
        (logits,) = self.members[member].stream([pixels])
        return logits, self._is_unsure(member, logits)

    def answers(self, batches: Iterable[Crops]) -> Iterator[Answered]:
        """Yield the answers to each batch, in order; up to ``WAITING`` bytes of later batches are read before.

        Raises EngineError for logits that are not finite.
        """
        pending: deque[_PendingBatch] = deque()
        queues: list[list[_Row]] = [[] for _ in self.members]
        size = 1                                   # of a full batch
        with closing(self._run_first(batches, queues)) as answered:
            for batch in answered:
                pending.append(batch)
                size = max(size, len(batch.logits))
                held = sum(crop.nbytes for crop in batch.crops) * len(pending)
                self._run_later(queues, size, at_once=held > WAITING)
                while pending and not pending[0].unanswered:
                    yield self._finish(pending.popleft())
        self._run_later(queues, size, at_once=True)
        yield from map(self._finish, pending)

    def _finish(self, batch: _PendingBatch) -> Answered:
        last = int((batch.member == len(self.members) - 1).sum())
        with self._lock:                           # calls of several threads
            self.passed_on += PassedOn(self.passed_on.certified95, last, len(batch.member))
        return batch.logits, batch.member

    def _run_first(self, batches: Iterable[Crops], queues: list[list[_Row]]) -> Generator[_PendingBatch, None, None]:
        """Yield each batch with the answers of the first member, and queue the images that it passes on."""
        running: deque[Crops] = deque()

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for crops in batches:
                running.append(crops)
                yield crops[0]

        for logits in self.members[0].stream(pixels()):
            unsure = self._is_unsure(0, logits)
            rows, answered = np.flatnonzero(unsure).tolist(), np.flatnonzero(~unsure).tolist()
            batch = _PendingBatch(running.popleft(), logits, np.zeros(len(logits), np.int64), len(rows))
            queues[1] += ((batch, row) for row in rows)
            for row in answered:
                batch.release(row)
            yield batch

    def _run_later(self, queues: list[list[_Row]], size: int, *, at_once: bool) -> None:
        """Run the other members on queued images in batches of ``size``; unless ``at_once``, only on full groups."""
        for number, engine in enumerate(self.members[1:], start=1):
            streams, queue = engine.info.streams, queues[number]
            full = len(queue) // size * size if len(queue) >= size * GROUP * streams else 0
            rows, queues[number] = (queue, []) if at_once else (queue[:full], queue[full:])
            step, crop = max(1, min(size, -(-len(rows) // streams))), self.crop_of[number]
            groups = [rows[start : start + step] for start in range(0, len(rows), step)]
            stacks = (np.stack([batch.crops[crop][row] for batch, row in group]) for group in groups)
            for group, logits in zip(groups, engine.stream(stacks), strict=True):
                for (batch, row), values, unsure in zip(group, logits, self._is_unsure(number, logits), strict=True):
                    if unsure:
                        queues[number + 1].append((batch, row))
                    else:
                        batch.logits[row], batch.member[row] = values, number
                        batch.unanswered -= 1
                        batch.release(row)

    def _is_unsure(self, number: int, logits: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which images a member passes on."""
        check_logits(logits)
        point, temperature = self.cascade.point, self.cascade.members[number].temperature
        return certainty(logits, point.rule, temperature) < (*point.thresholds, LAST_THRESHOLD)[number]
