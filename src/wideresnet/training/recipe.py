"""Everything that decides a training run, in one frozen value read from a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wideresnet.errors import ConfigError
from wideresnet.settings import explain


class Recipe(BaseModel):
    """Two runs with equal recipes and code, on one machine, give the same weights.

    Rates are per step of ``batch_size`` pictures; epochs count from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    data: Literal["cifar10", "cifar100"] = "cifar10"
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)
    seed: int = Field(0, ge=0)

    # SGD with Nesterov momentum, as in the paper.
    learning_rate: float = Field(gt=0)             # the highest of the schedule
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)        # of convolution and linear weights
    norm_weight_decay: float = Field(5e-4, ge=0)   # of batch norm's weights and of every bias
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)            # decay a step of the averaged weights; 0: none

    # "one-cycle": linear up over the ``warmup`` share of all steps, linear down to 0.
    # "steps": the rate times ``decay`` from each milestone (an epoch) on: the paper's.
    schedule: Literal["one-cycle", "steps"] = "steps"
    warmup: float = Field(0.2, ge=0, lt=1)
    milestones: tuple[int, ...] = ()
    decay: float = Field(0.2, gt=0, le=1)

    # Pictures: reflect-pad, cut a random 32×32, flip; ``sizes``: (from epoch, side in pixels) pairs.
    crop_padding: int = Field(4, ge=0, le=16)
    flip: Literal["random", "alternating", "none"] = "random"
    sizes: tuple[tuple[int, int], ...] = ((0, 32),)

    precision: Literal["bf16", "f32"] = "f32"      # of convolutions; weights and updates are f32
    evaluate_every: int = Field(1, ge=1)           # epochs; the last is always evaluated

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.milestones and max(self.milestones) >= self.epochs:
            raise ValueError(f"milestone {max(self.milestones)} is not before the last epoch {self.epochs}")
        starts = [start for start, _ in self.sizes]
        if starts != sorted(set(starts)) or starts[:1] != [0]:
            raise ValueError(f"sizes must start at epoch 0 and rise, got {list(self.sizes)}")
        return self

    def size_at(self, epoch: int) -> int:
        """Side in pixels of the pictures of one epoch."""
        return [side for start, side in self.sizes if start <= epoch][-1]


def read_recipe(path: Path, changes: dict[str, str] | None = None) -> Recipe:
    """The recipe in a TOML file, with ``changes`` (key -> TOML value as text) put over it.

    Raises ConfigError, naming the key, for anything unknown, missing or out of range.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    values |= {key: _toml_value(text) for key, text in (changes or {}).items()}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, path, Recipe.model_fields) from error


def _toml_value(text: str) -> Any:
    """``0.1``, ``true`` and ``[1, 2]`` as TOML reads them; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
