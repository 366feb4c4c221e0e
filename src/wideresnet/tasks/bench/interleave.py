"""Turns and their arithmetic: contestants measured side by side, so that a busy machine slows them alike."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Clock = Callable[[], float]
# Works off inputs, as many at a time as it likes, and calls back when each is done.
Work = Callable[[Iterator[Any], Callable[[], None]], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Allowance:
    """How long a turn lasts: ``count`` inputs or ``seconds``, whichever is over first, but one input at least."""

    count: float = math.inf
    seconds: float = math.inf


@dataclass(frozen=True)
class Turn:
    """What one turn brought. ``waits`` are the seconds from handing in an input to its being done."""

    images: int
    seconds: float
    waits: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """Several turns: images a second (median and quartiles over turns), percentiles of single waits."""

    images_per_s: float
    quartiles: tuple[float, float]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    n: int


def take_turns(players: Sequence[Callable[[], T]], rounds: int, rest: float = 0.0) -> Iterator[tuple[int, T]]:
    """Every player once a round, beginning with another one each time; yields its index and what it brought.

    ``rest`` seconds pass between turns: threads of the one before may still spin.
    """
    for turn in range(rounds):
        for place in range(len(players)):
            index = (turn + place) % len(players)
            time.sleep(rest)
            yield index, players[index]()


def take_turn(work: Work, inputs: Iterable[Any], size: int, allowance: Allowance, clock: Clock) -> Turn:
    """Let ``work`` run over ``inputs``, ``size`` images each, until the allowance is used up."""
    begun: deque[float] = deque()
    waits: list[float] = []

    def source() -> Iterator[Any]:
        for number, each in enumerate(inputs):
            if number and (number >= allowance.count or clock() - started >= allowance.seconds):
                return
            begun.append(clock())
            yield each

    def done() -> None:
        waits.append(clock() - begun.popleft())

    started = clock()
    work(source(), done)
    return Turn(size * len(waits), clock() - started, tuple(waits))


def summarise(turns: Sequence[Turn]) -> Summary:
    """One summary of all turns of a contestant."""
    rates = [turn.images / turn.seconds for turn in turns]
    waits = [1e3 * wait for turn in turns for wait in turn.waits]
    low, middle, high = np.percentile(rates, [25, 50, 75])
    p50, p95, p99 = np.percentile(waits, [50, 95, 99])
    return Summary(float(middle), (float(low), float(high)), float(p50), float(p95), float(p99), len(waits))


def peak_share(images_per_s: float, macs: int, peak: float | None) -> float:
    """The share of ``peak`` (G operations a second) that ``macs`` an image at this rate are; nan without one."""
    return 2 * macs * images_per_s / (1e9 * peak) if peak else math.nan
