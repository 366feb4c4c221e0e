"""Training a whole network on class folders, from weights that are trained already (extra ``train``)."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.bundle import Bundle
from wideresnet.bundle.derive import read_weights
from wideresnet.config import as_toml
from wideresnet.datasets.splits import FolderArrays, Split, decode_split
from wideresnet.errors import needs_extra
from wideresnet.machine import available_cpus
from wideresnet.output.atomic import save_text
from wideresnet.records import Failure, Images, Preprocess, Progress
from wideresnet.tasks.finetune.settings import FinetuneSettings, usual_recipe
from wideresnet.weights.read import read_tensors, save_tensors

with needs_extra("fine-tuning the whole network", "train"):
    import torch
    from torch import Tensor

    from wideresnet.training.batches import FolderBatches
    from wideresnet.training.checkpoint import load_checkpoint
    from wideresnet.training.distributed import Group, check_group, find_device
    from wideresnet.training.layer_groups import recalibrate_batch_norm, with_new_head
    from wideresnet.training.loop import Epoch, Step, train
    from wideresnet.training.recipe import Recipe

Log = Sequence[Mapping[str, float]]
BEST = "best.safetensors"
LOOKED_AT = 10                                     # batches that say what batch norms see


@dataclass(frozen=True, eq=False)
class Tuned:
    """The weights of the best epoch, and how they were come by."""

    tensors: Mapping[str, NDArray[np.generic]]
    log: tuple[Mapping[str, float], ...]
    failures: tuple[Failure, ...]                  # of both parts
    chosen: str
    recipe: str                                    # as TOML


def run_full(
    source: Bundle,
    architecture: Architecture,
    split: Split,
    run: Path,
    settings: FinetuneSettings,
    cache: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress | Images | Epoch, None, Tuned]:
    """Train in folder ``run``, or go on there; decoded images are kept in ``cache``, if given, and else in memory.

    ``device`` is as of ``find_device``. Raises DataError, TrainingError, ConfigError.
    """
    spec, group = source.card.preprocess, Group(device=find_device(device))
    check_group(group, 1)
    yield Progress("reading images", 0, 0)
    recipe, arrays = yield from _decoded(settings, architecture, split, spec, cache)
    saved = load_checkpoint(run, recipe)
    text = as_toml(recipe.model_dump(mode="json"))
    save_text(run / "recipe.toml", text)
    yield Images(split.name, split.labels, len(arrays.train_labels), len(arrays.val_labels), arrays.failures)
    batches = FolderBatches(recipe, arrays, spec, group)
    log = list(saved.log) if saved else []
    keep_best(run, recipe)                         # a kill may have come between the checkpoint and this
    start = None if saved else _start(source, architecture, batches, recipe)
    if not enough(log, settings.patience):
        for event in train(recipe, batches, run, start):
            if isinstance(event, Step):
                yield Progress("training", event.step, event.steps)
                continue
            log.append(asdict(event))
            keep_best(run, recipe)
            _write_log(run, log)
            yield event
            if enough(log, settings.patience):
                break
    _write_log(run, log)
    return Tuned(read_tensors(run / BEST).tensors, tuple(log), arrays.failures, _chosen(recipe, log), text)


def keep_best(run: Path, recipe: Recipe) -> None:
    """Write the weights of the checkpoint in ``run``, where there is one, as ``BEST`` if no epoch was better."""
    state = load_checkpoint(run, recipe)
    if state is None or best_epoch(state.log) != state.epoch - 1:
        return
    tensors = {key: value.numpy() for key, value in (state.averaged or state.model).items()}
    save_tensors(run / BEST, tensors, {"epoch": str(state.epoch)})


def best_epoch(log: Log) -> int:
    """The epoch (from 0) of the highest accuracy on val; of several the last, which has learnt the longest."""
    judged = [line for line in log if line["top1"] == line["top1"]]
    return int(max(judged, key=lambda line: (line["top1"], line["epoch"]))["epoch"]) if judged else -1


def enough(log: Log, patience: int) -> bool:
    """Whether ``patience`` epochs were no better than one before them; never with 0."""
    judged = [line for line in log if line["top1"] == line["top1"]]
    if not patience or not judged:
        return False
    first = max(judged, key=lambda line: (line["top1"], -line["epoch"]))["epoch"]
    return log[-1]["epoch"] - first >= patience


def _decoded(
    settings: FinetuneSettings, architecture: Architecture, split: Split, spec: Preprocess, cache: Path | None
) -> Generator[Progress, None, tuple[Recipe, FolderArrays]]:
    side = usual_recipe(settings, architecture.name, spec, len(split.train.items)).stored
    stored = replace(spec, resize=side, crop=side)
    arrays = yield from decode_split(split, stored, spec, available_cpus(), cache)
    # How many can be read may decide the size of a batch.
    return usual_recipe(settings, architecture.name, spec, len(arrays.train_labels)), arrays


def _start(source: Bundle, architecture: Architecture, batches: FolderBatches, recipe: Recipe) -> dict[str, Tensor]:
    tensors = with_new_head(read_weights(source), architecture, recipe.seed)
    if recipe.norms == "frozen":
        return {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()}
    return recalibrate_batch_norm(tensors, architecture, _some_images(batches))


def _some_images(batches: FolderBatches) -> Iterator[Tensor]:
    return (images for images, _ in islice(batches.training(0), LOOKED_AT))


def _write_log(run: Path, log: Log) -> None:
    lines = ({key: value for key, value in line.items() if value == value} for line in log)   # JSON has no nan
    save_text(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def _chosen(recipe: Recipe, log: Log) -> str:
    ended = f", and ended the run after {len(log)}" if len(log) < recipe.epochs else ""
    return (
        f"val chose epoch {best_epoch(log) + 1} of {recipe.epochs}{ended}: its accuracy is somewhat better than that of"
        " images never used"
    )
