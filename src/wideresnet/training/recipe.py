"""The recipe: all settings of a training run in one frozen value, read from a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, model_validator

from wideresnet.config import as_toml, read_toml, toml_value, validated
from wideresnet.datasets.statistics import STATISTICS, Statistics
from wideresnet.errors import ConfigError, did_you_mean
from wideresnet.precision import precision_name
from wideresnet.records import Alpha, Preprocess, RecipeInfo

RECIPES = Path(__file__).parents[1] / "recipes"
# Settings with an effect on class folders only.
_FOLDER_SETTINGS = ("balanced", "stored", "crop_scale", "crop_ratio", "input_size", "input_resize")
# Settings that change cropped images, at random in every epoch.
_CHANGES = ("trivial", "randaugment", "jitter", "erasing", "cutout", "mixup", "cutmix")
Fraction = Annotated[float, Field(gt=0, le=1)]


class Recipe(BaseModel):
    """The settings of a training run: equal recipes and code give equal weights on one machine.

    Learning rates apply to steps of ``batch_size`` images; epochs count from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    architecture: str
    data: Literal["cifar10", "cifar100", "svhn", "folder"] = "cifar10"
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)             # of all processes together
    seed: int = Field(0, ge=0, lt=2**32)           # the bits that torch's generators use

    # SGD with Nesterov momentum, as in the paper.
    learning_rate: float = Field(gt=0)             # the highest of the schedule
    head_rate: float = Field(1.0, gt=0)            # the classifier's, as a fraction of it
    momentum: float = Field(0.9, ge=0, lt=1)
    # Muon for the convolutions (see ``Muon``): the highest angle of a step in radians, where ``learning_rate`` is that
    # of the other parameters; 0: SGD for all. ``weight_decay`` then has an effect on the classifier only.
    muon_rate: float = Field(0.0, ge=0, le=0.5)
    weight_decay: float = Field(5e-4, ge=0)        # of convolution and linear weights
    norm_weight_decay: float = Field(5e-4, ge=0)   # of batch norm weights and all biases
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)            # decay per step of the averaged weights; 0: no average
    # Stochastic weight averaging (Izmailov et al., arXiv 1803.05407): the mean of the weights after each of the last
    # ``swa`` epochs (0: none), with batch norm statistics of its own. The rate does not fall below the fraction
    # ``swa_rate`` of ``learning_rate``.
    swa: int = Field(0, ge=0)
    swa_rate: Fraction = 0.1

    # Distillation (Hinton et al., arXiv 1503.02531; without labels, as Beyer et al., arXiv 2106.05237): the targets are
    # the answers of ``teacher``, a bundle or the name of a model, to the same augmented 32×32 images, both softened by
    # ``temperature``. ``teacher_sha256`` is that of its graph, written when the run starts.
    teacher: str = ""
    teacher_sha256: str = ""
    temperature: float = Field(4.0, ge=1)
    # Crops and flips repeat every ``teacher_views`` epochs, and the answers to each are computed once; 0: new ones in
    # every epoch.
    teacher_views: int = Field(0, ge=0)

    # "one-cycle": linear up during the fraction ``warmup`` of all steps, linear down to 0. "cosine": down to 0 along
    # half a cosine instead (Loshchilov & Hutter, arXiv 1608.03983, without restarts).
    # "steps", the paper's: multiplied by ``decay`` at each milestone (an epoch).
    schedule: Literal["one-cycle", "cosine", "steps"] = "steps"
    warmup: float = Field(0.2, ge=0, lt=1)
    milestones: tuple[int, ...] = ()
    decay: float = Field(0.2, gt=0, le=1)
    zero_init: bool = False                        # every block begins as its shortcut; see ``zero_branches``

    # Augmentation. ``sizes``: (from epoch, side in pixels) pairs.
    flip: Literal["random", "alternating", "none"] = "random"
    sizes: tuple[tuple[int, Annotated[int, Field(ge=1, le=1024)]], ...] = ((0, 32),)
    trivial: bool = False                          # TrivialAugment: one operation of random strength per image
    randaugment: int = Field(0, ge=0, le=14)       # RandAugment: operations per image, all of the same strength
    randaugment_magnitude: int = Field(9, ge=0, le=30)
    jitter: float = Field(0.0, ge=0, lt=1)         # brightness, contrast, saturation: factors of 1 ± up to this
    erasing: float = Field(0.0, ge=0, le=1)        # probability of erasing a random box of an image
    mixup: float = Field(0.0, ge=0)                # alpha of the blending weights; 0: no mixup
    cutmix: float = Field(0.0, ge=0)               # alpha of the box sizes; with mixup: each batch gets one of them
    # CIFAR and SVHN: reflect-padded by ``crop_padding`` pixels, then randomly cropped to 32×32. "zca": contrast
    # normalisation and whitening instead of mean and deviation, as in the paper's first version; not exportable.
    whitening: Literal["none", "zca"] = "none"
    crop_padding: int = Field(4, ge=0, le=16)
    cutout: int = Field(0, ge=0, le=32)            # side of the erased square in pixels of the 32; 0: none
    # Class folders: stored in memory as centre squares of ``stored`` pixels. Random crops have a fraction of the area
    # within ``crop_scale`` and a width over height within ``crop_ratio``. The finished network takes the centre
    # ``input_size`` of an image resized to ``input_resize`` on the shorter side; 0: the last size, and 8/7 of it.
    stored: int = Field(160, ge=1, le=1024)
    alpha: Alpha = "drop"                          # of transparent images; "white": composed onto white
    crop_scale: tuple[Fraction, Fraction] = (0.35, 1.0)
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    balanced: bool = False                         # all classes equally frequent in an epoch
    input_size: int = Field(0, ge=0)
    input_resize: int = Field(0, ge=0)

    # Pretrained weights: the number of frozen groups of (stem, layer1, layer2, …), the rate of a stage as a fraction
    # of the next one's, and whether batch norms keep their statistics.
    frozen: int = Field(0, ge=0, le=5)
    stage_rate: Fraction = 1.0
    norms: Literal["train", "frozen"] = "train"

    precision: Annotated[Literal["bf16", "f32"], BeforeValidator(precision_name)] = "f32"    # of convolutions only
    evaluate_every: int = Field(1, ge=1)           # epochs; the last is always evaluated
    flip_evaluation: bool = False                  # also log top1_flip, of logits averaged with the mirror image's

    @model_validator(mode="before")
    @classmethod
    def _as_stated(cls, values: Any) -> Any:
        """Make tuples of TOML's lists; drop ``sync_norms = false`` of older versions, now the only behaviour."""
        if not isinstance(values, Mapping):
            return values
        return {key: _as_tuple(value) for key, value in values.items() if (key, value) != ("sync_norms", False)}

    @model_validator(mode="after")
    def _check_consistency(self) -> Recipe:
        is_folder = self.data == "folder"
        if list(self.milestones) != sorted(set(self.milestones)) or min(self.milestones, default=1) < 1:
            raise ValueError(f"milestones must rise from epoch 1 on, got {list(self.milestones)}")
        if self.milestones and max(self.milestones) >= self.epochs:
            raise ValueError(f"milestone {max(self.milestones)} is not before the last epoch {self.epochs}")
        starts = [start for start, _ in self.sizes]
        if starts != sorted(set(starts)) or starts[:1] != [0]:
            raise ValueError(f"sizes must start at epoch 0 and rise, got {list(self.sizes)}")
        for key, (low, high) in {"crop_scale": self.crop_scale, "crop_ratio": self.crop_ratio}.items():
            if low > high:
                raise ValueError(f"{key} must be a smaller and a larger number, got {low} and {high}")
        changes = [key for key in _CHANGES if getattr(self, key)]
        changed = [key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default]
        for keys, is_used, use in (
            (_FOLDER_SETTINGS, is_folder, f"class folders, not for {self.data}"),
            (("alpha",), is_folder, f"class folders: {self.data} has no transparent images"),
            (("crop_padding", "cutout", "whitening", "teacher"), not is_folder, "32×32 images, not for class folders"),
            (("temperature", "teacher_sha256", "teacher_views"), bool(self.teacher), "distillation: name a teacher"),
            (("label_smoothing",), not self.teacher, "labels, which distillation does not use"),
            (("teacher",), self.whitening == "none", "images that are not whitened"),
            (("milestones", "decay"), self.schedule == "steps", f"the schedule steps, not for {self.schedule}"),
            (("warmup",), self.schedule != "steps", "the schedules one-cycle and cosine, not for steps"),
            (("trivial", "randaugment", "jitter"), self.whitening == "none", "images that are not whitened"),
            (("randaugment_magnitude",), self.randaugment > 0, "randaugment: set its number of operations"),
            (("swa_rate",), self.swa > 0, "swa: set its number of epochs"),
            (("decay", "swa_rate"), bool(self.milestones) or self.schedule != "steps", "milestones: set them"),
            (("zero_init",), not self.muon_rate, "SGD: Muon keeps the norm of weights, also a norm of zero"),
            (("swa",), not self.ema, "runs with ema = 0: both average the weights"),
            (("mixup", "cutmix"), self.batch_size > 1, "batches of two images or more: they mix images of a batch"),
            (("flip",), self.flip == "none" or not self.teacher_views % 2, "an even number of teacher_views"),
            (("teacher_views",), not changes, f"crops and flips only: leave out {', '.join(changes)}"),
        ):
            for key in keys:
                if key in changed and not is_used:
                    raise ValueError(f"{key} is for {use}")
        if self.swa and not 2 <= self.swa <= self.epochs:
            raise ValueError(f"swa must average 2 to {self.epochs} epochs, got {self.swa}")
        if any(0 < alpha < 0.01 for alpha in (self.mixup, self.cutmix)):
            raise ValueError("mixup and cutmix must be 0 (none) or at least 0.01: less mixes nothing")
        if is_folder and self.stored < max(side for _, side in self.sizes):
            raise ValueError(f"stored images of {self.stored} pixels are smaller than the largest of sizes")
        if self.input_resize and self.input_resize < self.preprocess().crop:
            raise ValueError(f"input_resize {self.input_resize} is smaller than input_size")
        return self

    def to_toml(self) -> str:
        """Return all settings as TOML, as ``read_recipe`` reads them."""
        return as_toml(self.model_dump(mode="json"))

    def size_at(self, epoch: int) -> int:
        """Return the side in pixels of the images of an epoch."""
        return [side for start, side in self.sizes if start <= epoch][-1]

    def statistics(self) -> Statistics:
        """Return classes, mean and deviation of a named data set. Raises KeyError for class folders."""
        statistics = STATISTICS[self.data]
        if self.whitening == "none":
            return statistics
        return Statistics(statistics.classes, (0.0,) * 3, (1 / 255,) * 3)       # whitened values are not changed

    def preprocess(self) -> Preprocess:
        """Return the preprocessing of the finished network; whitening, which comes before it, is not part of it."""
        if self.data != "folder":
            statistics = self.statistics()
            return Preprocess(resize=32, crop=32, mean=statistics.mean, std=statistics.std)
        crop = self.input_size or self.size_at(self.epochs - 1)
        return Preprocess(resize=self.input_resize or round(crop * 8 / 7), crop=crop, alpha=self.alpha)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def read_recipe(path: Path, changes: dict[str, str] | None = None) -> Recipe:
    """Read a recipe (see ``find_recipe``) and apply ``changes`` (key -> TOML value as text).

    Raises ConfigError, naming the setting, if one is unknown, missing or out of range.
    """
    values = read_toml(find_recipe(path), "recipe") | {key: toml_value(text) for key, text in (changes or {}).items()}
    return validated(Recipe, values, path)


def find_recipe(path: Path) -> Path:
    """Return the TOML file at ``path``, or the recipe of this package with that name. Raises ConfigError."""
    packaged = {file.stem: file for file in RECIPES.glob("*.toml")}
    name = path.name.removesuffix(".toml")
    if path.is_file() or (len(path.parts) > 1 and name not in packaged):
        return path
    if name not in packaged:
        hint = did_you_mean(name, packaged) or "'wrn train --list' lists the recipes of this package"
        raise ConfigError(f"no recipe called {name!r}, and no file {path}", hint)
    if len(path.parts) > 1:
        raise ConfigError(f"no recipe at {path}", hint=f"use {name}, the name of a recipe of this package")
    return packaged[name]


def list_recipes() -> list[RecipeInfo]:
    """Return the recipes of this package by name, with the accuracy that the head of the file states."""
    infos = []
    for path in sorted(RECIPES.glob("*.toml")):
        recipe, measured = read_recipe(path), re.search(r"^# Result:\s+([\d.]+) % top-1", path.read_text("utf-8"), re.M)
        top1 = float(measured[1]) / 100 if measured else None
        infos.append(RecipeInfo(path.stem, recipe.architecture, recipe.data, recipe.epochs, top1))
    return infos
