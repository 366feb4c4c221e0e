"""Estimate the time and memory of a recipe on this machine from a few real steps on noise per image size."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.datasets.cifar import CIFAR10, CIFAR100, SIDE, CifarArrays
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.splits import FolderArrays, check_two_classes, find_split
from wideresnet.datasets.svhn import TEST, TRAIN
from wideresnet.errors import ConfigError, needs_extra
from wideresnet.images.noise import noise
from wideresnet.machine import peak_rss_mb, reset_peak_rss
from wideresnet.records import Images
from wideresnet.records.plan import Phase, TrainingPlan

with needs_extra("training", "train"):
    from wideresnet.tasks.train.train import READERS, open_teacher
    from wideresnet.training.batches import Batches, CifarBatches, FolderBatches, Teacher
    from wideresnet.training.distributed import SINGLE_PROCESS, Group
    from wideresnet.training.loop import Trainer, prepare, take_step, update_average, validate
    from wideresnet.training.recipe import Recipe
    from wideresnet.training.schedule import count_steps, learning_rate

Clock = Callable[[], float]                        # seconds: of the clock, or of all CPUs
MEASURED_STEPS = 5                                 # at most, of each size, after a warm-up step
TEST_IMAGES = 100                                  # of the measured evaluation
# Training and test images of the named data sets.
COUNTS = {
    "cifar10": (sum(CIFAR10.train.values()), sum(CIFAR10.test.values())),
    "cifar100": (sum(CIFAR100.train.values()), sum(CIFAR100.test.values())),
    "svhn": (sum(TRAIN.values()), sum(TEST.values())),
}


def plan_training(
    recipe: Recipe, data: Path | None = None, seconds: float = 10.0, *, cached: bool = False,
    group: Group = SINGLE_PROCESS, clock: Clock = time.perf_counter,
) -> TrainingPlan:  # fmt: skip
    """Measure and return the plan of ``recipe``; only class folders need ``data``, to count their images.

    Other ``data`` is read and counted too, so that what cannot be trained on is an error now.

    ``cached``: their decoded images are to be stored on disk. ``group`` has the device and number of threads. Each
    image size is measured for about ``seconds`` of ``clock``, at least one step. Raises ConfigError without class
    folders, DataError for unusable ones, and TrainingError if they do not fill a batch.
    """
    recipe, teacher = open_teacher(recipe)
    data_set = _count_images(recipe, data)
    steps = count_steps(recipe, data_set.train)
    trainer = prepare(recipe, len(data_set.labels.names), group)
    # The largest first: its memory is reused by the others.
    kinds = sorted({_kind(recipe, first) for first, _ in _epoch_ranges(recipe)}, reverse=True)
    classes = len(data_set.labels.names)
    instant = (lambda images: np.zeros((len(images), classes), np.float32)) if teacher else None      # takes no time
    batches = {
        (side, is_taught): _noise_batches(recipe, side, data_set, teacher if is_taught else instant, trainer.group)
        for side, is_taught in kinds
    }
    measured = {kind: _time_steps(trainer, batches[kind], seconds, clock) for kind in kinds}
    architecture = get_architecture(recipe.architecture, classes, recipe.dropout)
    pictures_mb = _decoded_bytes(recipe, data_set) / 2**20
    return TrainingPlan(
        architecture=architecture.name,
        data=data_set.name,
        classes=architecture.classes,
        parameters=architecture.parameters(),
        precision=recipe.precision,
        batch_size=recipe.batch_size,
        train=data_set.train,
        test=data_set.test,
        steps_per_epoch=steps,
        phases=tuple(_phases(recipe, architecture, steps, measured)),
        evaluations=-(-recipe.epochs // recipe.evaluate_every),
        evaluation_seconds=_time_test_image(trainer, batches[kinds[0]], clock) * data_set.test,
        peak_rss_mb=peak_rss_mb(),
        pictures_mb=0.0 if cached else pictures_mb,
        disk_mb=pictures_mb if cached else 0.0,
        answers_mb=4 * architecture.classes * data_set.train * min(recipe.teacher_views, recipe.epochs) / 2**20,
        skipped=data_set.skipped,
    )


def _phases(
    recipe: Recipe, architecture: Architecture, steps: int, measured: Mapping[tuple[int, bool], list[float]]
) -> Iterator[Phase]:
    for first, last in _epoch_ranges(recipe):
        side, is_taught = kind = _kind(recipe, first)
        rates = [learning_rate(recipe, step, steps) for step in range(first * steps, (last + 1) * steps)]
        yield Phase(
            first=first,
            last=last,
            side=side,
            rates=(rates[0], max(rates), rates[-1]),
            macs=architecture.macs(side),
            step_seconds=median(measured[kind]),
            measured=len(measured[kind]),
            taught=is_taught,
        )


def _count_images(recipe: Recipe, data: Path | None) -> Images:
    """Return the names and numbers of the recipe's data, as published without ``data``; image files are not decoded."""
    if recipe.data != "folder":
        counts = _read_counts(recipe.data, data) if data else COUNTS[recipe.data]
        return Images(recipe.data, read_labels(recipe.data), *counts)
    if data is None:
        raise ConfigError("the recipe needs class folders", hint="name the folder with --data FOLDER")
    split = find_split(data)
    check_two_classes(split.labels, data)
    return Images(split.name, split.labels, len(split.train.items), len(split.val.items), skipped=split.skipped)


def _read_counts(name: str, data: Path) -> tuple[int, int]:
    """Return the numbers of training and test images in the files of a named data set."""
    arrays = READERS[name](data)
    counts = len(arrays.train_labels), len(arrays.test_labels)
    del arrays
    reset_peak_rss()                               # the images are counted on their own
    return counts


def _epoch_ranges(recipe: Recipe) -> list[tuple[int, int]]:
    """Return first and last epoch of each phase of constant image size (and rate, with milestones).

    The first epochs of a teacher whose answers are kept are phases of their own.
    """
    starts = {start for start, _ in recipe.sizes} | {recipe.teacher_views}
    if recipe.schedule == "steps":
        starts |= set(recipe.milestones)
    borders = [*sorted(start for start in starts if start < recipe.epochs), recipe.epochs]
    return [(first, after - 1) for first, after in pairwise(borders)]


def _kind(recipe: Recipe, epoch: int) -> tuple[int, bool]:
    """Return the image size of an epoch, and whether a teacher answers in it."""
    views = recipe.teacher_views or recipe.epochs
    return recipe.size_at(epoch), bool(recipe.teacher) and epoch < views


def _noise_batches(recipe: Recipe, side: int, data_set: Images, teacher: Teacher | None, group: Group) -> Batches:
    """Return batches of noise of one image size, as many as are measured: images do not change the time of a step."""
    fixed = recipe.model_copy(update={"sizes": ((0, side),), "whitening": "none"})
    count = (MEASURED_STEPS + 1) * recipe.batch_size
    labels = np.arange(max(count, TEST_IMAGES)) % len(data_set.labels.names)
    if recipe.data != "folder":
        train, test = noise(SIDE, count), noise(SIDE, TEST_IMAGES)
        return CifarBatches(fixed, CifarArrays(train, labels[:count], test, labels[:TEST_IMAGES]), group, teacher)
    train, test = noise(recipe.stored, count), noise(recipe.preprocess().crop, TEST_IMAGES)
    arrays = FolderArrays(data_set.name, data_set.labels, train, labels[:count], test, labels[:TEST_IMAGES])
    return FolderBatches(fixed, arrays, recipe.preprocess(), group)


def _time_steps(trainer: Trainer, batches: Batches, seconds: float, clock: Clock) -> list[float]:
    """Return the seconds of each step, loading included, without the warm-up step that allocates buffers."""
    trainer.model.train()
    source, durations = batches.training(0), list[float]()
    begun = clock()
    for number in range(MEASURED_STEPS + 1):
        started = clock()
        take_step(trainer, *next(source), 0.0)
        update_average(trainer, number)
        if number:
            durations.append(clock() - started)
            if clock() - begun > seconds:
                break
    return durations


def _time_test_image(trainer: Trainer, batches: Batches, clock: Clock) -> float:
    """Return the seconds per test image."""
    validate(trainer, batches)                     # allocates buffers
    started = clock()
    validate(trainer, batches)
    return (clock() - started) / TEST_IMAGES


def _decoded_bytes(recipe: Recipe, data_set: Images) -> int:
    if recipe.data == "folder":
        return 3 * (data_set.train * recipe.stored**2 + data_set.test * recipe.preprocess().crop**2)
    # The original images, and padded or whitened copies of the training images; whitened values are float32.
    whitened = recipe.whitening == "zca"
    padded = (SIDE + 2 * recipe.crop_padding) ** 2 if recipe.crop_padding or whitened else 0
    value_bytes = 4 if whitened else 1
    return 3 * ((data_set.train + data_set.test) * SIDE**2 + value_bytes * data_set.train * padded)
