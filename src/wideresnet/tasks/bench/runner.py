"""One race: all contestants and the machine's own limit in turns, warm, in one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from wideresnet.records import Peak, Precision, Progress
from wideresnet.tasks.bench.candidates import Contestant
from wideresnet.tasks.bench.interleave import Allowance, Summary, Turn, summarise, take_turn, take_turns
from wideresnet.tasks.bench.options import BenchSettings

WARM_UP = 0.2                                      # of a turn
REST = 0.1                                         # seconds between turns


@dataclass(frozen=True)
class Results:
    """Of each contestant, in their order; and the best block of each matrix product."""

    summaries: tuple[Summary, ...]
    peak: Peak


def race(
    contestants: Sequence[Contestant], gemms: Mapping[Precision, Callable[[], float]], settings: BenchSettings
) -> Generator[Progress, None, Results]:
    """Warm up, then a turn each in every round; yields progress, returns the results."""
    allowance, rounds = turn_of(settings)
    warm = Allowance(max(1.0, WARM_UP * allowance.count), WARM_UP * allowance.seconds)
    for index, each in enumerate(contestants):
        yield Progress(f"warming up {each.entry.name}", index, len(contestants))
        _turn(each, warm)
    players: list[Callable[[], Turn | float]] = [partial(_turn, each, allowance) for each in contestants]
    players += gemms.values()
    names = [each.entry.name for each in contestants] + [f"matrix product in {name}" for name in gemms]
    brought: list[list[Turn | float]] = [[] for _ in players]
    for index, result in take_turns(players, rounds, REST):
        brought[index].append(result)
        yield Progress(names[index], sum(map(len, brought)), rounds * len(players))
    summaries = [summarise([t for t in turns if isinstance(t, Turn)]) for turns in brought[: len(contestants)]]
    best = [max(block for block in blocks if isinstance(block, float)) for blocks in brought[len(contestants) :]]
    found = dict(zip(gemms, best, strict=True))
    return Results(tuple(summaries), Peak(found.get("f32"), found.get("bf16"), found.get("int8")))


def turn_of(settings: BenchSettings) -> tuple[Allowance, int]:
    """How long a turn is, and how many there are."""
    if settings.iterations:
        rounds = min(settings.rounds, settings.iterations)
        return Allowance(count=math.ceil(settings.iterations / rounds)), rounds
    return Allowance(seconds=settings.seconds / settings.rounds), settings.rounds


def _turn(each: Contestant, allowance: Allowance) -> Turn:
    return take_turn(each.work, each.inputs(), each.size, allowance, time.perf_counter)
