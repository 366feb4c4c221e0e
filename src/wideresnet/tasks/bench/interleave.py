"""Interleaved measurement: candidates take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Clock = Callable[[], float]
# Consumes inputs, several at a time if it likes, and calls back when one is done.
Work = Callable[[Iterator[Any], Callable[[], None]], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Allowance:
    """Length of a turn: ``count`` inputs or ``seconds``, whichever ends first, but at least one input."""

    count: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True)
class Turn:
    """Result of one turn. ``waits`` are the seconds from pulling an input to its completion."""

    images: int
    seconds: float
    waits: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Several turns: images per second (median and quartiles over turns), percentiles of the waits."""

    images_per_s: float
    quartiles: tuple[float, float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    n: int


def take_turns(calls: Sequence[Callable[[], T]], rounds: int, pause: float = 0.0) -> Iterator[tuple[int, T]]:
    """Make every call once per round, starting with the next one in each; yield its index and result.

    ``pause``: seconds between turns, because threads of the previous one may still spin.
    """
    for first in range(rounds):
        for offset in range(len(calls)):
            index = (first + offset) % len(calls)
            time.sleep(pause)
            yield index, calls[index]()


def take_turn(work: Work, inputs: Iterable[Any], size: int, allowance: Allowance, clock: Clock) -> Turn:
    """Run ``work`` over ``inputs`` of ``size`` images each until the allowance is used up."""
    begun: deque[float] = deque()
    waits: list[float] = []

    def source() -> Iterator[Any]:
        for index, value in enumerate(inputs):
            if index and (index >= allowance.count or clock() - started >= allowance.seconds):
                return
            begun.append(clock())
            yield value

    def done() -> None:
        waits.append(clock() - begun.popleft())

    started = clock()
    work(source(), done)
    return Turn(size * len(waits), clock() - started, tuple(waits))


def summarise(turns: Sequence[Turn]) -> Summary:
    """Summarise all turns of a candidate."""
    rates = [turn.images / turn.seconds for turn in turns]
    waits = [1e3 * wait for turn in turns for wait in turn.waits]
    low, middle, high = np.percentile(rates, [25, 50, 75])
    p50, p95, p99 = np.percentile(waits, [50, 95, 99])
    return Summary(float(middle), (float(low), float(high)), float(p50), float(p95), float(p99), len(waits))


def peak_fraction(images_per_s: float, macs: float, peak: float | None) -> float:
    """Return the fraction of ``peak`` (G operations/s) at this rate with ``macs`` per image; NaN without a peak."""
    return 2 * macs * images_per_s / (1e9 * peak) if peak else math.nan
