"""Threads that empty queues, and that are woken no more often than needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Waker:
    """Wakes threads of a pool for one queue.

    Call ``wake`` after each entry: it has no effect while as many threads as ``threads`` were woken and have not begun.
    Each of these will look at the queue later, so no entry is left over if a thread empties the queue or wakes another.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int) -> None:
        self._pool, self._threads = pool, threads
        self._coming, self._lock = 0, threading.Lock()      # threads that were woken and have not begun

    def wake(self, call: Callable[[], None]) -> None:
        """Let a thread make a ``call``. Raises RuntimeError where the system starts no more threads."""
        with self._lock:
            if self._coming >= self._threads:
                return
            self._coming += 1
        try:
            self._pool.submit(self._begin, call)
        except RuntimeError:
            self._count_begun()
            raise

    def _begin(self, call: Callable[[], None]) -> None:
        self._count_begun()
        call()

    def _count_begun(self) -> None:
        with self._lock:
            self._coming -= 1


class OrderedPool(Generic[Job]):
    """Threads that take the job of the earliest turn."""

    def __init__(self, threads: int, name: str) -> None:
        self._waker = Waker(ThreadPoolExecutor(threads, thread_name_prefix=name), threads)
        self._jobs: list[tuple[float, int, Job]] = []      # a heap: each of its functions is atomic
        self._numbers = count()

    def submit(self, turn: float, job: Job, call: Callable[[Job], None]) -> None:
        """Schedule a ``call`` with a job. Raises RuntimeError where the system starts no more threads."""
        heappush(self._jobs, (turn, next(self._numbers), job))
        self._waker.wake(partial(self._call_all, call))

    def _call_all(self, call: Callable[[Job], None]) -> None:
        with suppress(IndexError):                 # other threads take jobs, too
            while True:
                call(heappop(self._jobs)[-1])
