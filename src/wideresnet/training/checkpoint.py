"""What a run needs to go on as if it had never stopped, on disk and whole or not at all."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from wideresnet.errors import TrainingError
from wideresnet.output.atomic import atomic_path
from wideresnet.training.distributed import Group
from wideresnet.training.recipe import Recipe

FILE_NAME = "checkpoint.pt"
STOPPED = "stopped.pt"                             # the state in which a run could not go on; nothing reads it back


@dataclass
class TrainingState:
    """Everything that changes while training, at the end of an epoch.

    Random numbers are not part of it: each epoch seeds its own from (seed, epoch).
    """

    recipe: dict[str, Any]
    epoch: int                                     # epochs finished
    model: dict[str, Tensor]
    averaged: dict[str, Tensor]                    # EMA weights and statistics; empty without EMA
    optimiser: dict[str, Any]
    log: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(run: Path, state: TrainingState, name: str = FILE_NAME) -> None:
    """Write ``state`` atomically: a kill loses at most an epoch.

    Raises TrainingError when it cannot be written; the old file stays valid then.
    """
    target = run / name
    try:
        with atomic_path(target) as part, part.open("wb") as file:
            torch.save({f.name: getattr(state, f.name) for f in fields(state)}, file)
    except (OSError, RuntimeError) as error:       # torch's writer turns a full disk into a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
        raise TrainingError(
            f"cannot write {target}: {reason}",
            hint=f"the epochs before are whole in {run}; make room there, and the same command goes on",
        ) from error


def load_checkpoint(run: Path, recipe: Recipe) -> TrainingState | None:
    """The state in the run folder, or None when there is none.

    Raises TrainingError when it is damaged or belongs to another recipe.
    """
    path = run / FILE_NAME
    if not path.exists():
        return None
    try:
        state = TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
        # An older version knew fewer settings; it did what their defaults do.
        before = Recipe.model_validate(state.recipe).model_dump(mode="json")
    except (RuntimeError, pickle.UnpicklingError, TypeError, EOFError, ValidationError) as error:
        raise TrainingError(f"{path} is damaged: {error}", hint="delete it to start anew") from error
    changed = [key for key, value in recipe.model_dump(mode="json").items() if before[key] != value]
    if changed:
        raise TrainingError(
            f"{run} holds a run of another recipe; different: {', '.join(changed)}",
            hint="use another run folder, or the recipe.toml saved in this one",
        )
    return state


def fetch_newest(run: Path, recipe: Recipe, group: Group) -> None:
    """See to it that rank 0 has the newest checkpoint that any rank finds in its ``run``.

    Nodes need no common disk, and after a restart of torchrun another one than before may hold rank 0.
    Raises what ``load_checkpoint`` and ``save_checkpoint`` do.
    """
    with group.agreed():
        mine = load_checkpoint(run, recipe)
    epochs = group.gather(mine.epoch if mine else 0)
    newest = epochs.index(max(epochs))
    if newest != 0:
        state = group.send(mine, newest)
        assert state is not None, "it has finished an epoch"
        with group.agreed():
            if group.first:
                save_checkpoint(run, state)
