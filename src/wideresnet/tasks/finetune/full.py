"""Fine-tuning of a whole network on class folders (extra ``train``)."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from wideresnet.architectures import Architecture
from wideresnet.bundle import Bundle
from wideresnet.bundle.derive import read_weights
from wideresnet.datasets.splits import FolderArrays, Split, decode_split
from wideresnet.errors import ConfigError, needs_extra
from wideresnet.machine import available_cpus
from wideresnet.output.atomic import save_text
from wideresnet.records import Images, Preprocess, Progress
from wideresnet.tasks.finetune.result import FinetuneResult
from wideresnet.tasks.finetune.settings import ComputeOptions, FinetuneSettings, make_recipe
from wideresnet.weights.read import read_tensors, save_tensors

with needs_extra("fine-tuning the whole network", "train"):
    import torch
    from torch import Tensor

    from wideresnet.tasks.train.train import log_lines
    from wideresnet.training.batches import FolderBatches, first_images
    from wideresnet.training.checkpoint import load_checkpoint
    from wideresnet.training.distributed import Group, check_group, find_device
    from wideresnet.training.layer_groups import recalibrate_batch_norm, with_new_head
    from wideresnet.training.loop import Epoch, Step, Trainer, prepare, train
    from wideresnet.training.recipe import Recipe

Log = Sequence[Mapping[str, float]]
BEST = "best.safetensors"
CALIBRATION_BATCHES = 10                           # for the statistics of batch norms


def run_full(
    source: Bundle, architecture: Architecture, split: Split, run: Path, settings: FinetuneSettings,
    compute: ComputeOptions,
) -> Generator[Progress | Images | Epoch, None, FinetuneResult]:  # fmt: skip
    """Train the whole network in the folder ``run``, or resume there; return the weights of the best epoch.

    Raises DataError, TrainingError, ConfigError.
    """
    spec, group = source.card.preprocess, Group(device=find_device(compute.device))
    check_group(group, 1)
    if "stage_rate" in settings.recipe and settings.recipe.get("frozen", 0) >= len(architecture.stages):
        problem = f"stage_rate has no effect: frozen = {settings.recipe['frozen']} leaves one stage at most"
        raise ConfigError(problem, hint="leave it out, or freeze fewer groups")
    yield Progress("reading images", 0, 0)
    recipe, arrays = yield from _decode(settings, architecture, split, spec, compute.cache)
    saved = load_checkpoint(run, recipe)
    save_text(run / "recipe.toml", recipe.to_toml())
    yield Images(split.name, split.labels, len(arrays.train_labels), len(arrays.val_labels), arrays.failures)
    batches = FolderBatches(recipe, arrays, spec, group)
    first = tuple(first_images(batches, spec))
    weights = None if saved else _initial_weights(source, architecture, batches, recipe)
    trainer = prepare(recipe, batches.classes, group, saved, weights, architecture.variant())
    del saved, weights                             # each as large as the model
    keep_best(run, trainer)                        # the run may have been killed between checkpoint and copy
    patience = 0 if recipe.swa else settings.patience                  # the average is that of the last epochs
    if not is_patience_over(trainer.log, patience):
        for event in train(trainer, batches, run):
            if isinstance(event, Step):
                yield Progress("training", event.step, event.steps)
                continue
            keep_best(run, trainer)
            save_text(run / "log.jsonl", log_lines(trainer.log))
            yield event
            if is_patience_over(trainer.log, patience):
                break
    save_text(run / "log.jsonl", log_lines(trainer.log))
    tensors, log = read_tensors(run / BEST), tuple(trainer.log)
    chosen = _describe_choice(recipe, log)
    return FinetuneResult(tensors, arrays.failures, chosen, log=log, first_images=first, recipe=recipe.to_toml())


def keep_best(run: Path, trainer: Trainer) -> None:
    """Write the evaluated weights of the last epoch to ``BEST`` if no epoch was better."""
    if trainer.epoch and best_epoch(trainer.log) == trainer.epoch - 1:
        tensors = {key: value.numpy() for key, value in trainer.weights().items()}
        save_tensors(run / BEST, tensors, {"epoch": str(trainer.epoch)})


def best_epoch(log: Log) -> int:
    """Return the epoch (from 0) of highest validation accuracy, the last of equals; -1 if none was evaluated."""
    evaluated = [line for line in log if line["top1"] == line["top1"]]
    return int(max(evaluated, key=lambda line: (line["top1"], line["epoch"]))["epoch"]) if evaluated else -1


def is_patience_over(log: Log, patience: int) -> bool:
    """Return whether the last ``patience`` epochs brought no higher accuracy.

    Never with a patience of 0, nor after an epoch that was not evaluated: the next evaluation may be higher.
    """
    evaluated = [line for line in log if line["top1"] == line["top1"]]
    if not patience or not evaluated or evaluated[-1] is not log[-1]:
        return False
    first_best = max(evaluated, key=lambda line: (line["top1"], -line["epoch"]))["epoch"]
    return log[-1]["epoch"] - first_best >= patience


def _decode(
    settings: FinetuneSettings, architecture: Architecture, split: Split, spec: Preprocess, cache: Path | None
) -> Generator[Progress, None, tuple[Recipe, FolderArrays]]:
    side = make_recipe(settings, architecture.name, spec, len(split.train.items)).stored
    arrays = yield from decode_split(split, replace(spec, resize=side, crop=side), spec, available_cpus(), cache)
    # The number of readable images may limit the batch size.
    return make_recipe(settings, architecture.name, spec, len(arrays.train_labels)), arrays


def _initial_weights(
    source: Bundle, architecture: Architecture, batches: FolderBatches, recipe: Recipe
) -> dict[str, Tensor]:
    tensors = with_new_head(read_weights(source), architecture, recipe.seed)
    if recipe.norms == "frozen":
        return {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    images = (images.cpu() for images, _ in islice(batches.training(0), CALIBRATION_BATCHES))
    return recalibrate_batch_norm(tensors, architecture, images)


def _describe_choice(recipe: Recipe, log: Log) -> str:
    best = best_epoch(log)
    more = f", and ended the run after {len(log)}" if len(log) < recipe.epochs else ""
    more += ", before swa averaged weights" if recipe.swa and best <= recipe.epochs - recipe.swa else ""
    return (
        f"val chose epoch {best + 1} of {recipe.epochs}{more}: its accuracy is somewhat better than that of"
        " images never used"
    )
