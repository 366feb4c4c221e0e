"""A progress bar for loops of Python callers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


def with_bar(results: Iterable[Result], activity: str, total: int | None = None) -> Iterator[Result]:
    """Yield ``results`` while a bar on stderr, or in a notebook, counts them; ``total`` None: of unknown number."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True, markup=False)
    yield from track(results, activity, total=total, console=console, show_speed=True)
