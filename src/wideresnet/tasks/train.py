"""A training run in a folder of its own.

    RUN/recipe.toml        what was asked for            RUN/checkpoint.pt       to go on from
    RUN/log.jsonl          one line an epoch             RUN/model.safetensors   the result, with its card inside
    RUN/curves.html        loss and accuracy, drawn
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from wideresnet.architectures import get_architecture
from wideresnet.data.cifar import CifarArrays, read_cifar10, read_cifar100
from wideresnet.data.statistics import STATISTICS
from wideresnet.errors import needs_extra
from wideresnet.records import ModelCard, Preprocess
from wideresnet.report.curves import draw_curves
from wideresnet.report.save import save_text
from wideresnet.tasks.load import CARD_KEY
from wideresnet.weights.read import save_tensors

with needs_extra("training", "train"):
    from wideresnet.training.checkpoint import load_checkpoint
    from wideresnet.training.loop import Epoch, Step, train
    from wideresnet.training.recipe import Recipe, read_recipe

__all__ = ["Epoch", "Step", "read_recipe", "run_training"]

READERS = {"cifar10": read_cifar10, "cifar100": read_cifar100}
FILE_NAME = "model.safetensors"


def run_training(recipe: Recipe, data: Path, run: Path) -> Iterator[Step | Epoch]:
    """Train ``recipe`` on the archive ``data`` in folder ``run``, or go on with it; yields as work goes on.

    Raises DataError, TrainingError; what is in ``run`` after an interruption is whole.
    """
    arrays: CifarArrays = READERS[recipe.data](data)
    run.mkdir(parents=True, exist_ok=True)
    saved = load_checkpoint(run, recipe)           # another recipe's run is refused before anything is written
    log = saved.log if saved else []
    save_text(run / "recipe.toml", _toml(recipe))
    for event in train(recipe, arrays, run):
        if isinstance(event, Epoch):
            log.append(asdict(event))
            _write_logs(recipe, run, log)
        yield event
    _write_logs(recipe, run, log)                  # a finished run that is asked for again gets them too
    save_result(recipe, run)


def save_result(recipe: Recipe, run: Path) -> Path:
    """The weights of the last checkpoint (averaged, where the recipe averages) as safetensors with a card."""
    state = load_checkpoint(run, recipe)
    assert state is not None, "an epoch ends with its checkpoint"
    statistics = STATISTICS[recipe.data]
    card = ModelCard(
        name=f"{get_architecture(recipe.architecture).name}.{recipe.data}",
        architecture=get_architecture(recipe.architecture).name,
        classes=statistics.classes,
        preprocess=Preprocess(resize=32, crop=32, mean=statistics.mean, std=statistics.std),
        precision="fp32",
        licence="Apache-2.0",
        labels_name=recipe.data,
        notes={
            "recipe": _toml(recipe),
            "epochs": str(state.epoch),
            "training_seconds": f"{sum(line['seconds'] for line in state.log):.0f}",
            "seed": str(recipe.seed),
        },
    )
    tensors = {key: value.numpy() for key, value in (state.averaged or state.model).items()}
    metadata = {CARD_KEY: TypeAdapter(ModelCard).dump_json(card).decode()}
    save_tensors(run / FILE_NAME, tensors, metadata)
    return run / FILE_NAME


def _write_logs(recipe: Recipe, run: Path, log: list[dict[str, float]]) -> None:
    save_text(run / "log.jsonl", "".join(json.dumps(_without_nan(line)) + "\n" for line in log))
    save_text(run / "curves.html", draw_curves(f"{recipe.architecture} on {recipe.data}", log))


def _without_nan(line: dict[str, float]) -> dict[str, float]:
    """JSON has no nan: what was not measured is left out."""
    return {key: value for key, value in line.items() if value == value}


def _toml(recipe: Recipe) -> str:
    """The recipe as TOML; JSON's strings, numbers and lists of them are TOML's too."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in recipe.model_dump(mode="json").items())
