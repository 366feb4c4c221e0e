"""Everything that decides a training run, in one frozen value read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from wideresnet.config import as_toml, explain, read_toml, toml_value
from wideresnet.datasets.statistics import STATISTICS, Statistics
from wideresnet.records import Alpha, Preprocess

# Keys that do nothing for other data, and for another schedule, than these.
_FOR_FOLDERS = (
    "balanced", "trivial", "jitter", "erasing", "mixup", "cutmix", "stored", "crop_scale", "crop_ratio", "input_size",
    "input_resize",
)  # fmt: skip
Share = Annotated[float, Field(gt=0, le=1)]


class Recipe(BaseModel):
    """Two runs with equal recipes and code, on one machine, give the same weights.

    Rates are per step of ``batch_size`` images; epochs count from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    data: Literal["cifar10", "cifar100", "svhn", "folder"] = "cifar10"
    dropout: float = Field(0.0, ge=0, lt=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(128, ge=1)             # of all processes together, where there are several
    seed: int = Field(0, ge=0)

    # SGD with Nesterov momentum, as in the paper.
    learning_rate: float = Field(gt=0)             # the highest of the schedule
    head_rate: float = Field(1.0, gt=0)            # the classifier's, as a share of it
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

    # Images are cut, flipped and resized; ``sizes``: (from epoch, side in pixels) pairs.
    flip: Literal["random", "alternating", "none"] = "random"
    sizes: tuple[tuple[int, int], ...] = ((0, 32),)
    # CIFAR and SVHN: reflect-padded by so many pixels, a random 32×32 cut out. "zca": contrast-normalised and whitened
    # before, as in the paper's first version, instead of mean and deviation; such a network cannot be exported.
    whitening: Literal["none", "zca"] = "none"
    crop_padding: int = Field(4, ge=0, le=16)
    # Class folders: kept in memory as centre squares of ``stored`` pixels, of which a random part is cut out, its
    # area a share within ``crop_scale``, its width over height within ``crop_ratio``. The finished network sees the
    # centre ``input_size`` of an image whose shorter side is ``input_resize``; 0: the last size, and 8/7 of it.
    stored: int = Field(160, ge=1, le=1024)
    alpha: Alpha = "drop"                          # of transparent images; "white": laid on white
    crop_scale: tuple[Share, Share] = (0.35, 1.0)
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    balanced: bool = False                         # every class is shown equally often in an epoch
    trivial: bool = False                          # TrivialAugment: one operation of random strength an image
    jitter: float = Field(0.0, ge=0, lt=1)         # brightness, contrast and saturation times 1 ± up to so much
    erasing: float = Field(0.0, ge=0, le=1)        # share of images of which a box is blotted out
    mixup: float = Field(0.0, ge=0)                # alpha of the shares in which images are blended; 0: none
    cutmix: float = Field(0.0, ge=0)               # alpha of the boxes in which they are exchanged; with both: in turn
    input_size: int = Field(0, ge=0)
    input_resize: int = Field(0, ge=0)

    # Of weights that are trained already: how many of the stem, layer1, layer2, … stay as they are, the rate of a stage
    # as a share of the one's after it, and whether batch norms keep the statistics that they have.
    frozen: int = Field(0, ge=0, le=5)
    stage_rate: Share = 1.0
    norms: Literal["train", "frozen"] = "train"
    precision: Literal["bf16", "f32"] = "f32"      # of convolutions; weights and updates are f32
    evaluate_every: int = Field(1, ge=1)           # epochs; the last is always evaluated

    @model_validator(mode="before")
    @classmethod
    def _without_removed_settings(cls, values: Any) -> Any:
        """Run folders of older versions state ``sync_norms = false``, which is what happens without the setting."""
        if isinstance(values, Mapping) and values.get("sync_norms") is False:
            return {key: value for key, value in values.items() if key != "sync_norms"}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.milestones and max(self.milestones) >= self.epochs:
            raise ValueError(f"milestone {max(self.milestones)} is not before the last epoch {self.epochs}")
        starts = [start for start, _ in self.sizes]
        if starts != sorted(set(starts)) or starts[:1] != [0]:
            raise ValueError(f"sizes must start at epoch 0 and rise, got {list(self.sizes)}")
        for key, (low, high) in {"crop_scale": self.crop_scale, "crop_ratio": self.crop_ratio}.items():
            if low > high:
                raise ValueError(f"{key} must be a smaller and a larger number, got {low} and {high}")
        changed = [key for key, field in type(self).model_fields.items() if getattr(self, key) != field.default]
        for keys, used, what in (
            (_FOR_FOLDERS, self.data == "folder", f"class folders, not for {self.data}"),
            (("alpha",), self.data == "folder", f"class folders: {self.data} has no transparent images"),
            (("crop_padding",), self.data != "folder", "32×32 images, not for class folders"),
            (("milestones", "decay"), self.schedule == "steps", f"the schedule steps, not for {self.schedule}"),
        ):
            for key in keys:
                if key in changed and not used:
                    raise ValueError(f"{key} is for {what}")
        if any(0 < alpha < 0.01 for alpha in (self.mixup, self.cutmix)):
            raise ValueError("mixup and cutmix are 0 (none) or at least 0.01: with less nothing is mixed")
        if self.data == "folder" and self.whitening != "none":
            raise ValueError("whitening is for 32×32 images, not for class folders")
        if self.data == "folder" and self.stored < max(side for _, side in self.sizes):
            raise ValueError(f"stored images of {self.stored} pixels are smaller than sizes asks for")
        if self.input_resize and self.input_resize < self.preprocess().crop:
            raise ValueError(f"input_resize {self.input_resize} leaves less than input_size")
        return self

    def to_toml(self) -> str:
        """Return all settings as TOML, as ``read_recipe`` reads them."""
        return as_toml(self.model_dump(mode="json"))

    def size_at(self, epoch: int) -> int:
        """Side in pixels of the images of one epoch."""
        return [side for start, side in self.sizes if start <= epoch][-1]

    def statistics(self) -> Statistics:
        """Of a named data set: its classes, and what is taken out of its images. KeyError for class folders."""
        known = STATISTICS[self.data]
        if self.whitening == "none":
            return known
        return Statistics(known.classes, (0.0,) * 3, (1 / 255,) * 3)    # whitened values pass as they are

    def preprocess(self) -> Preprocess:
        """How the finished network wants to see an image; not the whole truth where images are whitened."""
        if self.data != "folder":
            known = self.statistics()
            return Preprocess(resize=32, crop=32, mean=known.mean, std=known.std)
        crop = self.input_size or self.size_at(self.epochs - 1)
        return Preprocess(resize=self.input_resize or round(crop * 8 / 7), crop=crop, alpha=self.alpha)


def read_recipe(path: Path, changes: dict[str, str] | None = None) -> Recipe:
    """The recipe in a TOML file, with ``changes`` (key -> TOML value as text) put over it.

    Raises ConfigError, naming the key, for anything unknown, missing or out of range.
    """
    values = read_toml(path, "recipe") | {key: toml_value(text) for key, text in (changes or {}).items()}
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, path, Recipe.model_fields) from error
