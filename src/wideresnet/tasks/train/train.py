"""A training run and its folder.

    RUN/recipe.toml        the settings                  RUN/checkpoint.pt       the state to resume from
    RUN/log.jsonl          one line per epoch            RUN/model.safetensors   the result with card and labels
    RUN/curves.html        plots of loss and accuracy    RUN/data.json           classes, counts, unreadable images
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from wideresnet.architectures import get_architecture
from wideresnet.datasets.cifar import SIDE, read_cifar10, read_cifar100
from wideresnet.datasets.labels import format_labels, read_labels
from wideresnet.datasets.layout import check_outside
from wideresnet.datasets.splits import check_two_classes, read_splits
from wideresnet.datasets.svhn import read_svhn
from wideresnet.engines import EngineOptions, open_engine
from wideresnet.errors import ConfigError, TrainingError, errors_as, needs_extra
from wideresnet.machine import available_cpus, machine_facts
from wideresnet.output.atomic import save_text
from wideresnet.records import Images, ModelCard, Preprocess, Progress, TrainingImage
from wideresnet.report import training as training_report
from wideresnet.report.escape import json_text, printable
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.weights_file import file_metadata
from wideresnet.weights.read import save_tensors

with needs_extra("training", "train"):
    from wideresnet.training.batches import Batches, CifarBatches, FolderBatches, Teacher, first_images
    from wideresnet.training.checkpoint import load_newest_checkpoint
    from wideresnet.training.distributed import SINGLE_PROCESS, Group, check_group, join
    from wideresnet.training.loop import Epoch, Step, Trainer, prepare, train
    from wideresnet.training.recipe import Recipe, read_recipe

__all__ = ["Epoch", "Group", "Images", "Progress", "Step", "check_start", "join", "read_recipe", "run_training"]

READERS = {"cifar10": read_cifar10, "cifar100": read_cifar100, "svhn": read_svhn}
FILE_NAME, RECIPE = "model.safetensors", "recipe.toml"
SEEDS = "seeds.json"                               # of a folder of several runs
Event = Progress | Images | Step | Epoch


def run_training(
    recipe: Recipe, data: Path, run: Path, group: Group = SINGLE_PROCESS, cache: Path | None = None
) -> Generator[Event, None, Images]:
    """Train ``recipe`` on ``data`` in the folder ``run``, or resume there; return the data set.

    ``data`` is a CIFAR archive, SVHN's folder, or a folder with train/ and val/. With ``cache`` the decoded images of
    such a folder are stored on disk for all runs, not in memory. In a group every rank calls this and reads its own
    images; only rank 0 writes. After an interruption every file in ``run`` is complete. Raises DataError,
    TrainingError, ConfigError.
    """
    with group.raise_on_all_ranks():
        check_group(group, recipe.batch_size)
        if (run / SEEDS).exists():
            raise ConfigError(f"{run} holds the runs of several seeds", hint="use another run folder, or --seeds")
        if recipe.data == "folder":
            check_outside(data, run, cache)
        recipe, teacher = open_teacher(recipe)
        images, batches = yield from open_batches(recipe, data, group, cache)
        if isinstance(batches, CifarBatches):
            batches = replace(batches, teacher=teacher)
    _check_ranks_agree(recipe, images, group)
    saved = load_newest_checkpoint(run, recipe, group)                 # refuses a run of another recipe
    group.broadcast_from_rank0(partial(_write_inputs, recipe, images, run))
    yield images
    first = first_images(batches, recipe.preprocess()) if recipe.whitening == "none" else []
    trainer = prepare(recipe, batches.classes, group, saved)
    del saved                                      # as large as the model and its average
    for event in train(trainer, batches, run):
        if isinstance(event, Epoch):
            group.broadcast_from_rank0(partial(_write_logs, trainer, images, first, run))
        yield event
    group.broadcast_from_rank0(partial(_write_results, trainer, images, first, run))
    return images


def check_start(recipe: Recipe, cache: Path | None) -> None:
    """Raise ConfigError for settings of pretrained weights, and a ``cache`` if ``recipe`` decodes no image files."""
    if recipe.frozen or recipe.norms == "frozen":
        problem = f"{'frozen' if recipe.frozen else 'norms'} is for pretrained weights, and this training has none"
        raise ConfigError(problem, hint="leave it out; 'wrn finetune --mode full' starts from a model")
    if cache and recipe.data != "folder":
        problem = f"--cache has no effect with data = {recipe.data!r}"
        raise ConfigError(problem, hint="leave it out: it is for class folders")


def open_batches(
    recipe: Recipe, data: Path, group: Group = SINGLE_PROCESS, cache: Path | None = None
) -> Generator[Progress, None, tuple[Images, Batches]]:
    """Decode the recipe's data set; each rank has all of it. Raises DataError, ConfigError."""
    check_start(recipe, cache)
    if recipe.data == "folder":
        stored, cpus = Preprocess(recipe.stored, recipe.stored, alpha=recipe.alpha), available_cpus()
        threads = cpus if cache else group.threads(cpus)               # with a cache one rank decodes for all
        arrays = yield from read_splits(data, stored, recipe.preprocess(), threads, cache)
        check_two_classes(arrays.labels, data)
        counts = len(arrays.train_labels), len(arrays.val_labels)
        by_class = _counts(arrays.train_labels)
        sample = _hash_sample(arrays.train_labels, arrays.val_labels, arrays.train_images, arrays.val_images)
        images = Images(arrays.name, arrays.labels, *counts, arrays.failures, arrays.skipped, by_class, sample)
        return images, FolderBatches(recipe, arrays, group=group)
    cifar = READERS[recipe.data](data)
    counts = len(cifar.train_labels), len(cifar.test_labels)
    sample = _hash_sample(cifar.train_labels, cifar.test_labels, cifar.train_images, cifar.test_images)
    by_class = _counts(cifar.train_labels)
    images = Images(recipe.data, read_labels(recipe.data), *counts, class_counts=by_class, sample=sample)
    return images, CifarBatches(recipe, cifar, group)


def _counts(labels: NDArray[np.integer]) -> tuple[int, ...]:
    return tuple(np.bincount(labels).tolist())


def _hash_sample(*arrays: NDArray[np.generic]) -> str:
    """Return a hash of about 200 rows of each array, at equal distances: other images have another one."""
    rows = (np.ascontiguousarray(values[:: 1 + len(values) // 200]).tobytes() for values in arrays)
    return hashlib.sha256(b"".join(rows)).hexdigest()[:16]


def open_teacher(recipe: Recipe) -> tuple[Recipe, Teacher | None]:
    """Open the recipe's teacher in the recipe's precision; return the recipe with its hash, and its logits' function.

    Raises ConfigError for a cascade, for other classes or image sizes, and for another model than the hash states.
    """
    if not recipe.teacher:
        return recipe, None
    bundle, names = load_bundle(ModelChoice(recipe.teacher)), read_labels(recipe.data).names
    bundle.check_single()                          # the probabilities of a cascade are those of several networks
    side = bundle.card.preprocess.crop
    if bundle.labels.names != names or side != SIDE:
        hint = f"name one for the {len(names)} classes of {recipe.data} at {SIDE} pixels, in their order"
        raise ConfigError(f"teacher {recipe.teacher} has {len(bundle.labels.names)} classes at {side} pixels", hint)
    if recipe.teacher_sha256 not in ("", bundle.sha256):
        problem = f"teacher {recipe.teacher} is not the one that the recipe states: its graph has another SHA-256"
        raise ConfigError(problem, hint="leave out teacher_sha256 to train with this one")
    options = EngineOptions(bundle.card.arithmetic(recipe.precision), hint="throughput")
    return recipe.model_copy(update={"teacher_sha256": bundle.sha256}), open_engine(bundle, options=options)


def save_result(trainer: Trainer, images: Images, run: Path) -> Path:
    """Write the evaluated weights (averaged, if the recipe averages) as safetensors with card and labels."""
    recipe = trainer.recipe
    architecture = get_architecture(recipe.architecture).name
    card = ModelCard(
        name=f"{architecture}.{printable(images.name)}",
        architecture=architecture,
        classes=len(images.labels.names),
        preprocess=recipe.preprocess(),
        precision="fp32",
        licence="Apache-2.0" if recipe.data.startswith("cifar") else "unknown",
        labels_name=recipe.data if recipe.data in READERS else "",
        notes={
            "recipe": recipe.to_toml(),
            "epochs": str(trainer.epoch),
            "training_seconds": f"{sum(line['seconds'] for line in trainer.log):.0f}",
            "seed": str(recipe.seed),
            "images": f"{images.train:,} to train on, {images.test:,} to test",
            **({"unreadable": f"{len(images.failures):,} images"} if images.failures else {}),
            **({"whitening": recipe.whitening} if recipe.whitening != "none" else {}),
        },
    )
    tensors = {key: value.numpy() for key, value in trainer.weights().items()}
    hint = "training is finished and saved: repeat the command to write the result"
    with errors_as((OSError, SafetensorError), TrainingError, f"cannot write {run / FILE_NAME}", hint):
        save_tensors(run / FILE_NAME, tensors, file_metadata(card, images.labels))
    return run / FILE_NAME


def _check_ranks_agree(recipe: Recipe, images: Images, group: Group) -> None:
    """Raise TrainingError if a rank has another recipe or other images than rank 0."""
    inputs = {"recipes": recipe, "classes": images.labels, "images": (images.train, images.test, images.sample)}
    for rank, inputs_of_rank in enumerate(by_rank := group.gather(inputs)):
        differences = [name for name, value in inputs_of_rank.items() if value != by_rank[0][name]]
        if differences:
            problem = f"ranks 0 and {rank} have different {' and '.join(differences)}"
            raise TrainingError(problem, hint="use the same recipe and the same data on every node")


def _write_inputs(recipe: Recipe, images: Images, run: Path) -> None:
    """Write data.json and recipe.toml. Raises TrainingError if ``run`` was trained on other images."""
    format_labels(images.labels)                   # raises now, not after the training, if they cannot be written
    path, current = run / "data.json", json.loads(json.dumps(asdict(images)))
    if path.exists():
        with errors_as(ValueError, TrainingError, f"{path} is damaged", hint="use another run folder"):
            previous = {"sample": current["sample"], **json.loads(path.read_text("utf-8"))}    # not of older versions
        changed = [key for key in ("labels", "train", "test", "sample") if previous.get(key) != current[key]]
        if changed:
            problem = f"{run} holds a run on other images; different: {', '.join(changed)}"
            raise TrainingError(problem, hint=f"use another run folder, or the images listed in {path}")
    save_text(path, json_text(current, indent=1) + "\n")
    save_text(run / RECIPE, recipe.to_toml())


def _write_results(trainer: Trainer, images: Images, first: Sequence[TrainingImage], run: Path) -> None:
    _write_logs(trainer, images, first, run)              # also for a run that was finished before
    save_result(trainer, images, run)


def _write_logs(trainer: Trainer, images: Images, first: Sequence[TrainingImage], run: Path) -> None:
    save_text(run / "log.jsonl", log_lines(trainer.log))
    title = f"{trainer.recipe.architecture} on {images.name}"
    conditions = {**trainer.recipe.model_dump(mode="json"), **machine_facts()}
    save_text(run / "curves.html", training_report.to_html(title, trainer.log, images, first, conditions))


def read_log(run: Path) -> tuple[dict[str, float], ...]:
    """Return the log of the run folder ``run``: an epoch a line."""
    return tuple(json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines())


def log_lines(log: Sequence[Mapping[str, float]]) -> str:
    """Format a log as JSON lines; values that were not measured (nan) are left out."""
    lines = ({key: value for key, value in line.items() if value == value} for line in log)
    return "".join(json.dumps(line) + "\n" for line in lines)
