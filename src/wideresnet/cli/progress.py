"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from wideresnet.report.escape import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from wideresnet.records import Progress

Report = TypeVar("Report")


@contextmanager
def progress_bars(unit: str) -> Iterator[Bars]:
    """Yield progress bars on stderr with count and time left; nothing is shown if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Description(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(printable(task.description))

    # Names are text, not rich's markup; lines are not wrapped in a narrow terminal.
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    columns = (
        Description(), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield bars


def run_with_bar(work: Generator[Progress, None, Report], description: str = "", unit: str = "") -> Report:
    """Run ``work`` to its end with a bar on stderr, and return its report."""
    from wideresnet.records import follow

    with progress_bars(unit) as bars:
        task = bars.add_task(description, total=None)
        return follow(work, lambda event: update_bar(bars, task, event))


def update_bar(bars: Bars, task: TaskID, event: Progress) -> None:
    """Show ``event`` in the bar ``task``."""
    bars.update(task, description=event.what, completed=event.done, total=event.total or None)


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows the bytes of a download; the bar appears with the first bytes."""
    with progress_bars("MB") as bars:
        task = bars.add_task(f"downloading {name}", total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            megabytes = None if total is None else total // 2**20
            bars.update(task, completed=done // 2**20, total=megabytes, visible=True)

        yield show
