"""Progress bars on stderr."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from wideresnet.cli.streams import say
from wideresnet.errors import OutputError
from wideresnet.report.escape import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from wideresnet.records import Progress

Report = TypeVar("Report")
EVERY_S = 10.0                                     # between two lines, at least


@contextmanager
def progress_bars(unit: str, *, shown: bool = True) -> Iterator[Bars]:
    """Yield progress bars on stderr with count and time left; if stderr is not a terminal, a line now and then.

    With ``shown`` False nothing is shown.
    """
    from rich import progress as rich
    from rich.console import Console
    from rich.text import Text

    class Description(rich.ProgressColumn):
        def render(self, task: rich.Task) -> Text:
            return Text(printable(task.description))

    # Names are text, not rich's markup; lines are not wrapped in a narrow terminal.
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    columns = (
        Description(), rich.BarColumn(), rich.MofNCompleteColumn(), rich.TextColumn(unit),
        rich.TimeElapsedColumn(), rich.TimeRemainingColumn(),
    )  # fmt: skip
    progress = rich.Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
    with progress as bars, _lines(bars, unit) if shown and not console.is_terminal else nullcontext():
        yield bars


@contextmanager
def _lines(bars: Bars, unit: str) -> Iterator[None]:
    """Print the state of the bars while the block runs, at intervals of a tenth of the time so far, or ``EVERY_S``."""
    started, ended = time.monotonic(), threading.Event()

    def run() -> None:
        pause = EVERY_S
        while not ended.wait(pause):
            seconds = time.monotonic() - started
            for task in bars.tasks:
                total = f" of {task.total:,.0f}" if task.total else ""
                count = f": {task.completed:,.0f}{total} {unit}".rstrip() if task.completed or total else ""
                with suppress(OutputError):        # stderr is a pipe whose reader has ended
                    say(f"{task.description or 'working'}{count}, {seconds:.0f} s", err=True)
            pause = max(EVERY_S, seconds / 10)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def waiting(activity: str) -> Iterator[None]:
    """Show that ``activity`` goes on while the block runs."""
    with progress_bars("") as bars:
        bars.add_task(activity, total=None)
        yield


def run_with_bar(work: Generator[Progress, None, Report], description: str = "", unit: str = "") -> Report:
    """Run ``work`` to its end with a bar on stderr, and return its report."""
    from wideresnet.records import follow

    with progress_bars(unit) as bars:
        task = bars.add_task(description, total=None)
        return follow(work, lambda event: update_bar(bars, task, event))


def update_bar(bars: Bars, task: TaskID, event: Progress) -> None:
    """Show ``event`` in the bar ``task``."""
    bars.update(task, description=event.activity, completed=event.done, total=event.total or None)


@contextmanager
def download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows the bytes of a download; the bar appears with its first call."""
    with progress_bars("MB") as bars:
        task = None

        def show(done: int, total: int | None) -> None:
            nonlocal task
            if task is None:
                task = bars.add_task(f"downloading {name}", total=None)
                if bars.disable:                   # no terminal
                    say(f"downloading {name}", err=True)
            megabytes = None if total is None else total // 2**20
            bars.update(task, completed=done // 2**20, total=megabytes)

        yield show
