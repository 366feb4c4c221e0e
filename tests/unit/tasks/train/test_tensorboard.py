"""Curves for TensorBoard: every step and epoch, what was interrupted hidden, and the events passed on as they come."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wideresnet.errors import MissingExtra
from wideresnet.records import Images, Labels
from wideresnet.tasks.train import tensorboard
from wideresnet.tasks.train.train import Epoch, Step

IMAGES = Images("mine", Labels(("a", "b")), 8, 2)


def events(first: int, epochs: int) -> list[Images | Step | Epoch]:
    found: list[Images | Step | Epoch] = [IMAGES]
    for epoch in range(first, epochs):
        found += [Step(epoch, 2 * epoch + k, 2 * epochs, 1 / (epoch + k), 0.1) for k in (1, 2)]
        found.append(Epoch(epoch, 0.5, float("nan") if epoch % 2 == 0 else 0.75, 1.0))
    return found


class FakeWriter:
    """Remembers what it was asked to write."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.scalars: dict[str, dict[int, float]] = {}
        made.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.setdefault(tag, {})[step] = value

    def close(self) -> None:
        self.closed = True


made: list[FakeWriter] = []


@pytest.fixture(autouse=True)
def none_made() -> None:
    made.clear()


def test_every_step_and_epoch_is_written_at_its_step(tmp_path: Path) -> None:
    given = events(1, 3)
    assert list(tensorboard._writing(iter(given), tmp_path, FakeWriter)) == given
    (writer,) = made
    assert (writer.folder, writer.purge_step, writer.closed) == (tmp_path, 3, True)
    assert writer.scalars == {
        "step/loss": {3: 0.5, 4: 1 / 3, 5: 1 / 3, 6: 0.25},
        "step/learning rate": dict.fromkeys((3, 4, 5, 6), 0.1),
        "epoch/loss": {4: 0.5, 6: 0.5},
        "epoch/top-1": {4: 0.75},
    }


def test_an_interruption_closes_the_file_and_a_finished_run_opens_none(tmp_path: Path) -> None:
    running = tensorboard._writing(iter(events(0, 2)), tmp_path, FakeWriter)
    next(running), next(running)
    running.close()
    assert [writer.closed for writer in made] == [True]
    list(tensorboard._writing(iter([IMAGES]), tmp_path, FakeWriter))
    assert len(made) == 1


def test_without_the_package_the_install_line_comes_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtra) as caught:
        tensorboard.with_curves(iter(events(0, 1)), tmp_path)
    assert caught.value.hint == "pip install 'wideresnet[tensorboard]'"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(tensorboard.with_curves(iter(events(0, 2)), tmp_path))
    found = reader.EventAccumulator(str(tmp_path)).Reload()
    assert [(each.step, each.value) for each in found.Scalars("epoch/top-1")] == [(4, 0.75)]
    assert [each.step for each in found.Scalars("step/loss")] == [1, 2, 3, 4]
