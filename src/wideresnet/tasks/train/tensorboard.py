"""Write the curves of a run for TensorBoard (extra ``tensorboard``)."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from wideresnet.errors import needs_extra
from wideresnet.records import Images, map_events
from wideresnet.tasks.train.train import Epoch, Event, Step


def with_curves(events: Generator[Event, None, Images], folder: Path) -> Generator[Event, None, Images]:
    """Yield ``events`` and write steps and epochs to ``folder``; the axis counts steps.

    A resumed run hides the steps of an interrupted epoch. Raises MissingExtra before anything is trained.
    """
    with needs_extra("writing for TensorBoard", "tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

    writer, step = None, 0

    def write(event: Event) -> Event:
        nonlocal writer, step
        if isinstance(event, Step):
            step = event.step
            writer = writer or SummaryWriter(folder, purge_step=step)
            writer.add_scalar("step/loss", event.loss, step)
            writer.add_scalar("step/learning rate", event.learning_rate, step)
        elif isinstance(event, Epoch) and writer:
            figures = {"loss": event.loss, "top-1": event.top1, "validation loss": event.val_loss,
                       "training top-1": event.train_top1}  # fmt: skip
            for name, value in figures.items():
                if value == value:
                    writer.add_scalar(f"epoch/{name}", value, step)
        return event

    try:
        return (yield from map_events(events, write))
    finally:
        if writer:
            writer.close()
