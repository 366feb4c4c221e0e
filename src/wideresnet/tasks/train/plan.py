"""What a recipe would take on this machine: its schedule, and a few real steps on noise for each image size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.datasets.cifar import CIFAR10, CIFAR100, SIDE, CifarArrays
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.splits import FolderArrays, find_split
from wideresnet.datasets.svhn import TEST, TRAIN
from wideresnet.errors import ConfigError, needs_extra
from wideresnet.machine import peak_rss_mb
from wideresnet.records import Labels, Skipped
from wideresnet.records.plan import Phase, TrainingPlan

with needs_extra("training", "train"):
    from wideresnet.training.batches import Batches, CifarBatches, FolderBatches
    from wideresnet.training.distributed import Group
    from wideresnet.training.loop import Trainer, accuracy, prepare, take_step, update_average
    from wideresnet.training.recipe import Recipe
    from wideresnet.training.schedule import count_steps, learning_rate

STEPS = 5                                          # measured of each size, after one that is not
TESTED = 100                                       # images of the measured evaluation
# Training and test images of the sets that have a name.
COUNTS = {
    "cifar10": (sum(CIFAR10.train.values()), sum(CIFAR10.test.values())),
    "cifar100": (sum(CIFAR100.train.values()), sum(CIFAR100.test.values())),
    "svhn": (sum(TRAIN.values()), sum(TEST.values())),
}


@dataclass(frozen=True)
class _Sources:
    """What would be trained on: nothing of it is decoded."""

    name: str
    labels: Labels
    train: int
    test: int
    skipped: Skipped = field(default_factory=Skipped)


def plan_training(
    recipe: Recipe, data: Path | None = None, seconds: float = 10.0, *, cached: bool = False, device: str = "cpu"
) -> TrainingPlan:
    """The plan of ``recipe``; ``data`` is needed for class folders alone, to count them.

    ``cached``: their decoded images are to be kept on a disk. ``device``: where it would be trained, for torch.
    Each size is measured for about ``seconds``, by at least one step. Raises ConfigError without folders, DataError
    for others than they should be, and TrainingError where they do not fill a batch.
    """
    sources = _find(recipe, data)
    steps = count_steps(recipe, sources.train)
    trainer = prepare(recipe, len(sources.labels.names), Group(device=device))
    # The largest first: what memory it takes is there when the others run.
    sides = sorted({recipe.size_at(first) for first, _ in _spans(recipe)}, reverse=True)
    measured = {side: _time_steps(trainer, _noise(recipe, side, sources), seconds) for side in sides}
    architecture = get_architecture(recipe.architecture, len(sources.labels.names), recipe.dropout)
    pictures_mb = _images_bytes(recipe, sources) / 2**20
    return TrainingPlan(
        architecture=architecture.name,
        data=sources.name,
        classes=architecture.classes,
        parameters=architecture.parameters(),
        precision=recipe.precision,
        batch_size=recipe.batch_size,
        train=sources.train,
        test=sources.test,
        steps_per_epoch=steps,
        phases=tuple(_phases(recipe, architecture, steps, measured)),
        evaluations=-(-recipe.epochs // recipe.evaluate_every),
        evaluation_seconds=_time_image(trainer, _noise(recipe, sides[0], sources)) * sources.test,
        peak_rss_mb=peak_rss_mb(),
        pictures_mb=0.0 if cached else pictures_mb,
        disk_mb=pictures_mb if cached else 0.0,
        skipped=sources.skipped,
    )


def _phases(
    recipe: Recipe, architecture: Architecture, steps: int, measured: Mapping[int, list[float]]
) -> Iterator[Phase]:
    for first, last in _spans(recipe):
        side = recipe.size_at(first)
        rates = [learning_rate(recipe, step, steps) for step in range(first * steps, (last + 1) * steps)]
        yield Phase(
            first=first,
            last=last,
            side=side,
            rates=(rates[0], max(rates), rates[-1]),
            macs=architecture.macs(side),
            step_seconds=median(measured[side]),
            measured=len(measured[side]),
        )


def _find(recipe: Recipe, data: Path | None) -> _Sources:
    if recipe.data != "folder":
        return _Sources(recipe.data, read_labels(recipe.data), *COUNTS[recipe.data])
    if data is None:
        raise ConfigError("the recipe trains on class folders of yours", hint="name the folder with --data FOLDER")
    split = find_split(data)
    return _Sources(split.name, split.labels, len(split.train.items), len(split.val.items), split.skipped)


def _spans(recipe: Recipe) -> list[tuple[int, int]]:
    """First and last epoch of every phase."""
    starts = {start for start, _ in recipe.sizes}
    if recipe.schedule == "steps":
        starts |= set(recipe.milestones)
    borders = [*sorted(start for start in starts if start < recipe.epochs), recipe.epochs]
    return [(first, after - 1) for first, after in pairwise(borders)]


def _noise(recipe: Recipe, side: int, sources: _Sources) -> Batches:
    """As many batches as are measured, of the size of ``side``; what they show costs nothing and changes no time."""
    fixed = recipe.model_copy(update={"sizes": ((0, side),), "whitening": "none"})
    count = (STEPS + 1) * recipe.batch_size
    labels = np.arange(max(count, TESTED)) % len(sources.labels.names)
    if recipe.data != "folder":
        train, test = _pixels(count, SIDE), _pixels(TESTED, SIDE)
        return CifarBatches(fixed, CifarArrays(train, labels[:count], test, labels[:TESTED]))
    train, test = _pixels(count, recipe.stored), _pixels(TESTED, recipe.preprocess().crop)
    arrays = FolderArrays(sources.name, sources.labels, train, labels[:count], test, labels[:TESTED])
    return FolderBatches(fixed, arrays, recipe.preprocess())


def _pixels(count: int, side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def _time_steps(trainer: Trainer, batches: Batches, seconds: float) -> list[float]:
    """Seconds of each step, its loading included; the first one, which also makes buffers, is left out."""
    trainer.model.train()
    source, found = batches.training(0), list[float]()
    begun = time.perf_counter()
    for number in range(STEPS + 1):
        started = time.perf_counter()
        take_step(trainer, *next(source), 0.0)
        update_average(trainer, number)
        if number:
            found.append(time.perf_counter() - started)
            if time.perf_counter() - begun > seconds:
                break
    return found


def _time_image(trainer: Trainer, batches: Batches) -> float:
    """Seconds a test image."""
    accuracy(trainer, batches)                     # makes buffers
    started = time.perf_counter()
    accuracy(trainer, batches)
    return (time.perf_counter() - started) / TESTED


def _images_bytes(recipe: Recipe, sources: _Sources) -> int:
    if recipe.data == "folder":
        return 3 * (sources.train * recipe.stored**2 + sources.test * recipe.preprocess().crop**2)
    # Padded images lie beside the plain ones; whitened ones are float32.
    padded = (SIDE + 2 * recipe.crop_padding) ** 2 if recipe.crop_padding else 0
    each = 4 if recipe.whitening == "zca" else 1
    return 3 * ((sources.train + sources.test) * SIDE**2 + each * sources.train * padded)
