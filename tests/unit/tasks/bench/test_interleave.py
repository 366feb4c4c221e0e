"""Turns and their arithmetic, on a clock that tells what it is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from wideresnet.records import Tuning
from wideresnet.tasks.bench.interleave import Allowance, Turn, peak_fraction, summarise, take_turn, take_turns
from wideresnet.tasks.bench.measure import turns_of
from wideresnet.tasks.bench.options import BenchSettings
from wideresnet.tasks.bench.tune import fastest


class Clock:
    """Seconds that pass only when somebody works."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def worker(clock: Clock, seconds: float) -> Callable[[Iterator[Any], Callable[[], None]], None]:
    def work(inputs: Iterator[Any], done: Callable[[], None]) -> None:
        for _ in inputs:
            clock.now += seconds
            done()

    return work


def test_every_player_once_a_round_and_another_one_first_each_time() -> None:
    order = [index for index, _ in take_turns([lambda: None] * 3, rounds=4)]
    assert order == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]


def test_a_turn_ends_after_its_seconds_or_its_count() -> None:
    clock = Clock()
    turn = take_turn(worker(clock, 0.5), cycle([0]), 4, Allowance(seconds=2.0), clock)
    assert (turn.images, turn.seconds, turn.waits) == (16, 2.0, (0.5,) * 4)
    turn = take_turn(worker(clock, 0.5), cycle([0]), 4, Allowance(count=3), clock)
    assert (turn.images, len(turn.waits)) == (12, 3)


def test_a_turn_is_at_least_one_input() -> None:
    clock = Clock()
    assert take_turn(worker(clock, 9.0), cycle([0]), 1, Allowance(seconds=0.001), clock).images == 1


def test_a_wait_is_from_handing_in_to_being_done_also_with_several_in_flight() -> None:
    clock = Clock()

    def two_at_a_time(inputs: Iterator[Any], done: Callable[[], None]) -> None:
        for _ in inputs:
            if next(inputs, None) is None:
                return
            clock.now += 1.0
            done()
            clock.now += 1.0
            done()

    assert take_turn(two_at_a_time, cycle([0]), 1, Allowance(count=4), clock).waits == (1.0, 2.0, 1.0, 2.0)


def test_a_summary_is_the_median_over_turns_and_percentiles_over_waits() -> None:
    waits = tuple(k / 1000 for k in range(1, 101))
    turns = [Turn(100, 1.0, waits), Turn(100, 2.0, waits), Turn(100, 4.0, waits)]
    summary = summarise(turns)
    assert (summary.images_per_s, summary.quartiles) == (50.0, (37.5, 75.0))
    assert (summary.p50_ms, summary.n) == (pytest.approx(50.5), 300)
    assert summary.p50_ms < summary.p95_ms < summary.p99_ms <= 100


def test_the_share_of_the_peak_counts_two_operations_a_multiply_accumulate() -> None:
    assert peak_fraction(10.0, macs=5 * 10**9, peak=200.0) == pytest.approx(0.5)
    assert math.isnan(peak_fraction(10.0, 1, None))


def test_iterations_are_shared_among_the_rounds_and_seconds_too() -> None:
    for iterations, counts in ((10, [2] * 5), (6, [1, 1, 1, 1, 2]), (2, [1, 1]), (13, [2, 2, 3, 3, 3])):
        assert [turn.count for turn in turns_of(BenchSettings(iterations=iterations, rounds=5))] == counts
    assert [turn.seconds for turn in turns_of(BenchSettings(seconds=10, rounds=4))] == [2.5] * 4


def test_of_settings_about_as_fast_the_simplest_is_kept() -> None:
    found = [Tuning(16, 2, 2, 100.0), Tuning(1, 2, 2, 98.0), Tuning(1, 1, 2, 90.0), Tuning(4, 1, 2, 97.5)]
    assert fastest(found) == Tuning(1, 2, 2, 98.0)
