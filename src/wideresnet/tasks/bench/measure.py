"""Measure all candidates and the machine's peak in turns, warm, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from wideresnet.precision import Precision
from wideresnet.records import Peak, Progress
from wideresnet.tasks.bench.candidates import Candidate
from wideresnet.tasks.bench.interleave import Allowance, Summary, Turn, summarise, take_turn, take_turns
from wideresnet.tasks.bench.options import BenchSettings

WARM_UP = 0.2                                      # of a turn
PAUSE = 0.1                                        # seconds between turns


@dataclass(frozen=True)
class Results:
    """A summary per candidate, in order, and the best block of each matrix product."""

    summaries: tuple[Summary, ...]
    peak: Peak


def measure(
    candidates: Sequence[Candidate], gemms: Mapping[Precision, Callable[[], float]], settings: BenchSettings
) -> Generator[Progress, None, Results]:
    """Warm up, then run one turn per candidate and round; yield progress, return the results."""
    turns = turns_of(settings)
    warm = Allowance(max(1.0, WARM_UP * turns[-1].count), WARM_UP * turns[-1].seconds)
    for index, candidate in enumerate(candidates):
        yield Progress(f"warming up {candidate.entry.name}", index, len(candidates))
        _turn(candidate, iter([warm]))
    calls: list[Callable[[], Turn | float]] = [partial(_turn, candidate, iter(turns)) for candidate in candidates]
    calls += gemms.values()
    names = [candidate.entry.name for candidate in candidates] + [f"matrix product in {name}" for name in gemms]
    results: list[list[Turn | float]] = [[] for _ in calls]
    for index, result in take_turns(calls, len(turns), PAUSE):
        results[index].append(result)
        yield Progress(names[index], sum(map(len, results)), len(turns) * len(calls))
    summaries = [summarise([t for t in taken if isinstance(t, Turn)]) for taken in results[: len(candidates)]]
    best = [max(block for block in blocks if isinstance(block, float)) for blocks in results[len(candidates) :]]
    return Results(tuple(summaries), Peak(**dict(zip(gemms, best, strict=True))))


def turns_of(settings: BenchSettings) -> list[Allowance]:
    """Return the length of the turn of each round."""
    if settings.iterations:
        rounds = min(settings.rounds, settings.iterations)
        return [Allowance(count=(settings.iterations + index) // rounds) for index in range(rounds)]
    return [Allowance(seconds=settings.seconds / settings.rounds)] * settings.rounds


def _turn(candidate: Candidate, turns: Iterator[Allowance]) -> Turn:
    return take_turn(candidate.work, candidate.inputs(), candidate.size, next(turns), time.perf_counter)
