"""Checkpoints: the state of a run after an epoch, replaced atomically on disk."""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wideresnet.config import validated
from wideresnet.errors import TrainingError, errors_as
from wideresnet.output.atomic import atomic_path
from wideresnet.training.distributed import Group
from wideresnet.training.recipe import Recipe

FILE_NAME = "checkpoint.pt"
STOPPED = "stopped.pt"                             # the state before a non-finite loss, for inspection only

# What torch's reader raises for a file that it did not write.
_DAMAGE = (
    RuntimeError, pickle.UnpicklingError, TypeError, LookupError, ValueError, AttributeError, EOFError, struct.error,
)  # fmt: skip


@dataclass
class TrainingState:
    """Everything that changes during training, at the end of an epoch.

    Random states are not part of it: each epoch seeds its generators from (seed, epoch).
    """

    recipe: Recipe
    epoch: int                                     # finished epochs
    model: dict[str, Tensor]
    averaged: dict[str, Tensor]                    # EMA weights and statistics; empty without EMA
    optimiser: dict[str, Any]
    log: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(run: Path, state: TrainingState, name: str = FILE_NAME) -> None:
    """Write ``state`` atomically: a kill loses at most one epoch.

    Raises TrainingError if it cannot be written; the previous checkpoint stays valid.
    """
    target = run / name
    try:
        values = vars(state) | {"recipe": state.recipe.model_dump(mode="json")}
        with atomic_path(target) as part, part.open("wb") as file:
            torch.save(values, file)
    except (OSError, RuntimeError) as error:       # torch's writer turns a full disk into a RuntimeError
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
        hint = f"free some space and repeat the command: it resumes from the last checkpoint in {run}"
        raise TrainingError(f"cannot write {target}: {reason}", hint) from error


def load_checkpoint(run: Path, recipe: Recipe) -> TrainingState | None:
    """Read the checkpoint in the folder ``run``; None if there is none.

    Settings that an older version did not write have their defaults. Raises TrainingError if the file is damaged or
    belongs to another recipe, ConfigError if its recipe has a setting that this version does not know.
    """
    path = run / FILE_NAME
    if not path.exists():
        return None
    with errors_as(_DAMAGE, TrainingError, f"{path} is damaged", hint="delete it to start again"):
        values = torch.load(path, map_location="cpu", weights_only=True)
        state = TrainingState(**values | {"recipe": validated(Recipe, values["recipe"], path)})
    changed = [key for key in Recipe.model_fields if getattr(state.recipe, key) != getattr(recipe, key)]
    if changed:
        problem = f"{run} holds a run of another recipe; different: {', '.join(changed)}"
        raise TrainingError(problem, hint="use another run folder, or the recipe.toml in this one")
    return state


def load_newest_checkpoint(run: Path, recipe: Recipe, group: Group) -> TrainingState | None:
    """Read the newest of all ranks' checkpoints and return it on every rank; rank 0 then has it in its ``run`` too.

    Nodes need no shared disk, and a restart of torchrun may move rank 0 to another node. Raises what
    ``load_checkpoint`` and ``save_checkpoint`` raise.
    """
    with group.raise_on_all_ranks():
        local = load_checkpoint(run, recipe)
    epochs = group.gather(local.epoch if local else 0)
    newest = epochs.index(max(epochs))
    state = group.broadcast(local, newest)
    if newest != 0:
        assert state is not None, "its rank has finished an epoch"
        group.broadcast_from_rank0(partial(save_checkpoint, run, state))
    return state
