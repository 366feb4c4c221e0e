"""The curves of a run for TensorBoard (extra ``tensorboard``), beside the log that is always written."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from wideresnet.errors import needs_extra
from wideresnet.records import Images, map_events
from wideresnet.tasks.train.train import Epoch, Event, Step

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def with_curves(events: Generator[Event, None, Images], folder: Path) -> Generator[Event, None, Images]:
    """``events`` as they come, each of them also written to ``folder``; the axis counts steps.

    A run that goes on hides what an interrupted epoch had written. Raises MissingExtra before anything is trained.
    """
    with needs_extra("writing for TensorBoard", "tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

    return _writing(events, folder, SummaryWriter)


def _writing(
    events: Generator[Event, None, Images], folder: Path, open_writer: type[SummaryWriter]
) -> Generator[Event, None, Images]:
    writer, step = None, 0

    def write(event: Event) -> Event:
        nonlocal writer, step
        if isinstance(event, Step):
            step = event.step
            writer = writer or open_writer(folder, purge_step=step)
            writer.add_scalar("step/loss", event.loss, step)
            writer.add_scalar("step/learning rate", event.learning_rate, step)
        elif isinstance(event, Epoch) and writer:
            writer.add_scalar("epoch/loss", event.loss, step)
            if event.top1 == event.top1:
                writer.add_scalar("epoch/top-1", event.top1, step)
        return event

    try:
        return (yield from map_events(events, write))
    finally:
        if writer:
            writer.close()
