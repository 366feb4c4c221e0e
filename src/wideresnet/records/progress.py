"""Progress of long work: a generator yields events while it works and returns its report at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Event = TypeVar("Event")
Report = TypeVar("Report")


@dataclass(frozen=True)
class Progress:
    """The current activity, and the number of finished steps out of ``total`` (0: the total is unknown)."""

    activity: str
    done: int
    total: int


def follow(work: Generator[Event, None, Report], show: Callable[[Event], object] = lambda event: None) -> Report:
    """Run ``work`` to its end, call ``show`` with each event, and return the report."""
    events = Events(work)
    for event in events:
        show(event)
    return events.report


def map_events(
    work: Generator[Event, None, Report], change: Callable[[Event], Event]
) -> Generator[Event, None, Report]:
    """Yield ``change(event)`` for each event of ``work``, and return its report."""
    events = Events(work)
    for event in events:
        yield change(event)
    return events.report


class Events(Generic[Event, Report]):
    """An iterable of the events of a generator; ``report`` is what it returned, once all events are taken."""

    report: Report

    def __init__(self, work: Generator[Event, None, Report]) -> None:
        self._work = work

    def __iter__(self) -> Iterator[Event]:
        self.report = yield from self._work
