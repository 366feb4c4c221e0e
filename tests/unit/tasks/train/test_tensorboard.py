"""Curves for TensorBoard: every step and epoch is written, and the events are passed on as they come."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace

import pytest

from wideresnet.errors import MissingExtra
from wideresnet.records import Images, Labels, follow
from wideresnet.tasks.train.tensorboard import with_curves
from wideresnet.tasks.train.train import Epoch, Event, Step

IMAGES = Images("mine", Labels(("a", "b")), 8, 2)


def run(first: int, epochs: int) -> Generator[Event, None, Images]:
    """The events of a run of two steps an epoch, which begins at the epoch ``first``."""
    yield IMAGES
    for epoch in range(first, epochs):
        for step in (1, 2):
            yield Step(epoch, 2 * epoch + step, 2 * epochs, 1 / (epoch + step), 0.1)
        yield Epoch(epoch, 0.5, float("nan") if epoch % 2 == 0 else 0.75, 1.0)
    return IMAGES


class FakeWriter:
    """A SummaryWriter in memory."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: dict[str, dict[int, float]] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.setdefault(tag, {})[step] = value

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[FakeWriter]:
    """The writers that are opened, instead of TensorBoard's."""
    opened: list[FakeWriter] = []

    def open_writer(*arguments: Path, **options: int) -> FakeWriter:
        opened.append(FakeWriter(*arguments, **options))
        return opened[-1]

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=open_writer))
    return opened


def test_every_step_and_epoch_is_written_at_its_step(tmp_path: Path, writers: list[FakeWriter]) -> None:
    events: list[Event] = []
    assert follow(with_curves(run(1, 3), tmp_path), events.append) == IMAGES
    assert [str(event) for event in events] == [str(event) for event in run(1, 3)]
    (writer,) = writers
    assert (writer.folder, writer.purge_step, writer.closed) == (tmp_path, 3, True)
    assert writer.scalars == {
        "step/loss": {3: 0.5, 4: 1 / 3, 5: 1 / 3, 6: 0.25},
        "step/learning rate": dict.fromkeys((3, 4, 5, 6), 0.1),
        "epoch/loss": {4: 0.5, 6: 0.5},
        "epoch/top-1": {4: 0.75},
    }


def test_an_interruption_closes_the_file(tmp_path: Path, writers: list[FakeWriter]) -> None:
    running = with_curves(run(0, 2), tmp_path)
    next(running), next(running)
    running.close()
    assert [writer.closed for writer in writers] == [True]


def test_a_finished_run_opens_no_file(tmp_path: Path, writers: list[FakeWriter]) -> None:
    follow(with_curves(run(2, 2), tmp_path))
    assert writers == []


def test_without_the_package_the_install_line_comes_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra) as caught:
        next(with_curves(run(0, 1), tmp_path))
    assert caught.value.hint == "pip install 'wideresnet[tensorboard]'"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    follow(with_curves(run(0, 2), tmp_path))
    log = reader.EventAccumulator(str(tmp_path)).Reload()
    assert [(scalar.step, scalar.value) for scalar in log.Scalars("epoch/top-1")] == [(4, 0.75)]
    assert [scalar.step for scalar in log.Scalars("step/loss")] == [1, 2, 3, 4]
