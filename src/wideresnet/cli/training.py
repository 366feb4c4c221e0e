"""Options and output that ``wrn train`` and ``wrn finetune`` share."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from wideresnet.cli.output import list_problems
from wideresnet.cli.progress import progress_bars, update_bar
from wideresnet.cli.streams import say
from wideresnet.errors import ConfigError, WrnError
from wideresnet.report.escape import printable

if TYPE_CHECKING:
    from wideresnet.records import Images, PathPoint, Progress, SeedsReport
    from wideresnet.training.distributed import Group
    from wideresnet.training.loop import Epoch, Step

    RunEvent = Progress | Images | Step | Epoch | SeedsReport
    Event = RunEvent | PathPoint

Work = TypeVar("Work", bound="Event")
Report = TypeVar("Report")


def follow_run(
    work: Generator[Work, None, Report], stopped: str, *, lines: bool, unit: str = "", purpose: str = "validation"
) -> Report:
    """Run a training to its end with a bar and, if ``lines``, one line per event; return its report.

    ``purpose`` is that of the images that are not trained on. Ctrl-C reports ``stopped``, how to continue, and exits
    with code 130.
    """
    from wideresnet.records import Progress, follow

    def show(event: Work) -> None:
        if isinstance(event, Progress):
            update_bar(bars, task, event)
        elif lines:
            bars.console.print(printable(_line(event, purpose)))

    try:
        with progress_bars(unit) as bars:
            task = bars.add_task("reading images", total=None)
            return follow(work, show)
    except KeyboardInterrupt:
        say(f"stopped; {stopped}", err=True)
        raise typer.Exit(130) from None


def parse_changes(changes: list[str] | None, options: Mapping[str, object]) -> dict[str, Any]:
    """Parse the ``key=value`` of every ``--set``, and add those of ``options`` that are not None.

    Raises ConfigError, also for a key that is given twice: one of the values would have no effect.
    """
    pairs: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    for change in changes or []:
        key, sign, value = (part.strip() for part in change.partition("="))
        if not sign:
            raise ConfigError(f"--set takes key=value, got {change!r}")
        if key in pairs:
            raise ConfigError(f"{key} is set twice: to {pairs[key]} and to {value}", hint=f"leave out one {key}")
        pairs[key] = value
    return pairs


def say_unreached(epochs: int, sizes: Sequence[Sequence[int]], teacher_views: int = 0) -> None:
    """Say which (epoch, side) pairs of ``sizes`` and repeated views are not reached, as with ``--set epochs=1``."""
    if late := [start for start, _ in sizes if start >= epochs]:
        size = f"the last images have {[side for start, side in sizes if start < epochs][-1]} pixels"
        say(f"note: sizes from epoch {late[0]} on are not reached, with epochs = {epochs}: {size}", err=True)
    if teacher_views >= epochs:
        say(f"note: no view repeats, with epochs = {epochs}: teacher_views has no effect", err=True)


@contextmanager
def errors_of_rank0(group: Group) -> Iterator[None]:
    """Let rank 0 report errors; the other processes exit silently with the same code."""
    try:
        yield
    except (WrnError, KeyboardInterrupt) as error:
        if group.is_rank0:
            raise
        raise typer.Exit(2 if isinstance(error, WrnError) else 130) from None


def list_problems_of_data(event: RunEvent) -> RunEvent:
    """List the unreadable and skipped files of the data set at once; show steps as progress."""
    from wideresnet.records import Images, Progress
    from wideresnet.training.loop import Step

    if isinstance(event, Images):
        list_problems((), event.failures, event.skipped, event.name)
    return Progress("training", event.step, event.steps) if isinstance(event, Step) else event


def _line(event: Event, purpose: str) -> str:
    """Return one line on the data set, a strength of L2, an epoch, or the seeds so far."""
    from wideresnet.records import Images, PathPoint, SeedsReport
    from wideresnet.report import seeds

    if isinstance(event, Images):
        classes = len(event.labels.names)
        return f"{event.name}: {event.train} images of {classes} classes for training, {event.test} for {purpose}"
    if isinstance(event, PathPoint):
        top1 = 100 * event.correct / event.n
        return f"L2 {event.l2:<8g} loss {event.loss:.4f}  top-1 {top1:.2f} % of {event.n} held out"
    if isinstance(event, SeedsReport):
        return f"seed {event.runs[-1].seed}: {seeds.summary(event)}"
    epoch: Epoch = event  # type: ignore[assignment]
    accuracy = "" if epoch.top1 != epoch.top1 else f"  top-1 {100 * epoch.top1:.2f} %"
    return f"epoch {epoch.epoch + 1:3d}  loss {epoch.loss:.4f}{accuracy}  {epoch.seconds:.0f} s"
