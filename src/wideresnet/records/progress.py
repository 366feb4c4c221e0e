"""Progress of long work: a generator yields events while it works and returns its report at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

Event = TypeVar("Event")
Report = TypeVar("Report")


@dataclass(frozen=True)
class Progress:
    """The current activity, and the number of finished steps out of ``total`` (0: the total is unknown)."""

    what: str
    done: int
    total: int


def follow(work: Generator[Event, None, Report], show: Callable[[Event], object] = lambda event: None) -> Report:
    """Run ``work`` to its end, call ``show`` with each event, and return the report."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            report: Report = end.value
            return report
        show(event)


def map_events(
    work: Generator[Event, None, Report], change: Callable[[Event], Event]
) -> Generator[Event, None, Report]:
    """Yield ``change(event)`` for each event of ``work``, and return its report."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            report: Report = end.value
            return report
        yield change(event)
