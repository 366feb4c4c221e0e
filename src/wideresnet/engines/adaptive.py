"""One network compiled twice: one stream of all threads for a lone image, several streams for many.

With one stream a small network computes 8 to 11 % fewer images per second under load; with several, a lone image waits
1.6 times as long, as it gets a part of the threads (docs/decisions/log.md). Both forms give the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from wideresnet.engines.base import OutputsEngine


class AdaptiveEngine(OutputsEngine):
    """An engine that computes an image in its ``lone`` form where no other is in work, and else in its ``many``."""

    def __init__(self, lone: OutputsEngine, many: OutputsEngine) -> None:
        self.info = many.info
        self._lone, self._many = lone, many
        self._lock, self._running = threading.Lock(), 0

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        with self._choose([batch]) as engine:
            return engine(batch)

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """See ``OutputsEngine``."""
        rest = iter(batches)
        first = list(islice(rest, 2))              # a second batch follows, or there is none
        with self._choose(first) as engine:
            yield from engine.outputs(chain(first, rest))

    @contextmanager
    def _choose(self, batches: list[NDArray[np.uint8]]) -> Iterator[OutputsEngine]:
        """Count a call while it runs, and yield the form that computes it."""
        with self._lock:
            is_lone = not self._running and len(batches) == 1 and len(batches[0]) == 1
            self._running += 1
        try:
            yield self._lone if is_lone else self._many
        finally:
            with self._lock:
                self._running -= 1
