"""A training run in a folder of its own.

    RUN/recipe.toml        what was asked for            RUN/checkpoint.pt       to go on from
    RUN/log.jsonl          one line an epoch             RUN/model.safetensors   the result, card and labels inside
    RUN/curves.html        loss and accuracy, drawn      RUN/data.json           classes, numbers, unreadable images
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import SafetensorError

from wideresnet.architectures import get_architecture
from wideresnet.config import as_toml
from wideresnet.datasets.cifar import read_cifar10, read_cifar100
from wideresnet.datasets.labels import format_labels, read_labels
from wideresnet.datasets.splits import read_splits
from wideresnet.datasets.svhn import read_svhn
from wideresnet.errors import ConfigError, TrainingError, needs_extra
from wideresnet.machine import available_cpus
from wideresnet.output.atomic import save_text
from wideresnet.records import Images, ModelCard, Preprocess, Progress
from wideresnet.report.escape import json_text, printable
from wideresnet.report.html.curves import draw_curves
from wideresnet.tasks.load.load import CARD_KEY, LABELS_KEY
from wideresnet.weights.read import save_tensors

with needs_extra("training", "train"):
    from wideresnet.training.batches import Batches, CifarBatches, FolderBatches
    from wideresnet.training.checkpoint import fetch_newest, load_checkpoint
    from wideresnet.training.distributed import SINGLE_PROCESS, Group, check_group, join
    from wideresnet.training.loop import Epoch, Step, train
    from wideresnet.training.recipe import Recipe, read_recipe

__all__ = ["Epoch", "Group", "Images", "Progress", "Step", "check_cache", "join", "read_recipe", "run_training"]

READERS = {"cifar10": read_cifar10, "cifar100": read_cifar100, "svhn": read_svhn}
FILE_NAME = "model.safetensors"
Event = Progress | Images | Step | Epoch


def run_training(
    recipe: Recipe, data: Path, run: Path, group: Group = SINGLE_PROCESS, cache: Path | None = None
) -> Generator[Event, None, Images]:
    """Train ``recipe`` on ``data`` in folder ``run``, or go on with it; return the data set that it learnt from.

    ``data`` is a CIFAR archive, SVHN's folder, or the folder that holds train/ and val/; the decoded images of such
    a folder are kept in ``cache`` instead of the memory, where it is given, for every run to come. Raises DataError,
    TrainingError, ConfigError; what is in ``run`` after an interruption is whole. In a group every rank calls this
    with images of its own; only what rank 0 finds in ``run`` counts, and only rank 0 writes there.
    """
    with group.agreed():
        check_group(group, recipe.batch_size)
        images, batches = yield from open_images(recipe, data, group, cache)
    _refuse_different(recipe, images, group)
    fetch_newest(run, recipe, group)
    log = group.from_first(partial(_begin, recipe, images, run))
    yield images
    for event in train(recipe, batches, run):
        if isinstance(event, Epoch):
            log.append(asdict(event))
            group.from_first(partial(_write_logs, recipe, images, run, log))
        yield event
    group.from_first(partial(_finish, recipe, images, run, log))
    return images


def check_cache(recipe: Recipe, cache: Path | None) -> None:
    """Raises ConfigError where there is nothing of ``recipe`` to keep in ``cache``."""
    if cache and recipe.data != "folder":
        raise ConfigError(
            f"a recipe with data = {recipe.data!r} needs no --cache", hint="it is for class folders; leave it out"
        )


def open_images(
    recipe: Recipe, data: Path, group: Group = SINGLE_PROCESS, cache: Path | None = None
) -> Generator[Progress, None, tuple[Images, Batches]]:
    """The data set that a recipe asks for, decoded; each rank has all of it. Raises DataError, ConfigError."""
    check_cache(recipe, cache)
    if recipe.data == "folder":
        stored, cpus = Preprocess(recipe.stored, recipe.stored, alpha=recipe.alpha), available_cpus()
        threads = cpus if cache else group.threads(cpus)               # one rank decodes what all of them open
        arrays = yield from read_splits(data, stored, recipe.preprocess(), threads, cache)
        counts = len(arrays.train_labels), len(arrays.val_labels)
        images = Images(arrays.name, arrays.labels, *counts, arrays.failures, arrays.skipped)
        return images, FolderBatches(recipe, arrays, group=group)
    cifar = READERS[recipe.data](data)
    counts = len(cifar.train_labels), len(cifar.test_labels)
    return Images(recipe.data, read_labels(recipe.data), *counts), CifarBatches(recipe, cifar, group)


def save_result(recipe: Recipe, images: Images, run: Path) -> Path:
    """The weights of the last checkpoint (averaged, where the recipe averages) as safetensors with card and labels."""
    state = load_checkpoint(run, recipe)
    assert state is not None, "an epoch ends with its checkpoint"
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
            "recipe": as_toml(recipe.model_dump(mode="json")),
            "epochs": str(state.epoch),
            "training_seconds": f"{sum(line['seconds'] for line in state.log):.0f}",
            "seed": str(recipe.seed),
            "images": f"{images.train:,} to train on, {images.test:,} to test",
            **({"unreadable": f"{len(images.failures):,} images"} if images.failures else {}),
            **({"whitening": recipe.whitening} if recipe.whitening != "none" else {}),
        },
    )
    tensors = {key: value.numpy() for key, value in (state.averaged or state.model).items()}
    metadata = {
        CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode(),
        LABELS_KEY: format_labels(images.labels),
    }
    try:
        save_tensors(run / FILE_NAME, tensors, metadata)
    except (OSError, SafetensorError) as error:
        reason = "the same command tries again: the run itself is finished and whole"
        raise TrainingError(f"cannot write {run / FILE_NAME}: {error}", hint=reason) from error
    return run / FILE_NAME


def _refuse_different(recipe: Recipe, images: Images, group: Group) -> None:
    """Raises TrainingError where ranks have another recipe or other images than rank 0."""
    known = {"recipes": recipe, "classes": images.labels, "numbers of images": (images.train, images.test)}
    for rank, other in enumerate(ranks := group.gather(known)):
        changed = [what for what, value in other.items() if value != ranks[0][what]]
        if changed:
            raise TrainingError(
                f"ranks 0 and {rank} have different {' and '.join(changed)}",
                hint="every node needs the same recipe and the same data",
            )


def _begin(recipe: Recipe, images: Images, run: Path) -> list[dict[str, float]]:
    """Write down what is trained on; the log of the epochs before."""
    saved = load_checkpoint(run, recipe)           # another recipe's run is refused before anything is written
    _keep_images(images, run)
    save_text(run / "recipe.toml", as_toml(recipe.model_dump(mode="json")))
    return saved.log if saved else []


def _finish(recipe: Recipe, images: Images, run: Path, log: list[dict[str, float]]) -> None:
    _write_logs(recipe, images, run, log)        # a finished run that is asked for again gets them too
    save_result(recipe, images, run)


def _keep_images(images: Images, run: Path) -> None:
    """Write down what is trained on, or refuse to go on with something else."""
    format_labels(images.labels)                 # what cannot be written at the end is refused now
    path, now = run / "data.json", json.loads(json.dumps(asdict(images)))
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        changed = [key for key in ("labels", "train", "test") if before.get(key) != now[key]]
        if changed:
            raise TrainingError(
                f"{run} holds a run on other images; different: {', '.join(changed)}",
                hint=f"use another run folder, or the images listed in {path}",
            )
    save_text(path, json_text(now, indent=1) + "\n")


def _write_logs(recipe: Recipe, images: Images, run: Path, log: list[dict[str, float]]) -> None:
    save_text(run / "log.jsonl", "".join(json.dumps(_without_nan(line)) + "\n" for line in log))
    save_text(run / "curves.html", draw_curves(f"{recipe.architecture} on {images.name}", log))


def _without_nan(line: dict[str, float]) -> dict[str, float]:
    """JSON has no nan: what was not measured is left out."""
    return {key: value for key, value in line.items() if value == value}
