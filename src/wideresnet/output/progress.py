"""Progress bars for Python callers, on stderr or in a notebook."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from wideresnet.records.progress import Events

Result = TypeVar("Result")


def with_bar(results: Iterable[Result], activity: str, total: int | None = None) -> Iterator[Result]:
    """Yield ``results`` while a bar counts them; ``total`` None: of unknown number."""
    from rich.console import Console
    from rich.progress import track

    yield from track(results, activity, total=total, console=Console(stderr=True, markup=False), show_speed=True)


def run_shown(work: Generator[object, None, Result], activity: str, shown: bool) -> Result:
    """Run ``work`` to its end and return its report; if ``shown`` a bar counts its steps."""
    events = Events(work)
    for _ in with_bar(events, activity) if shown else events:
        pass
    return events.report
