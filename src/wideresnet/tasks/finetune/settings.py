"""The settings of a fine-tuning run in one frozen value, and the recipe that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from wideresnet.config import read_toml, toml_value, validated
from wideresnet.errors import ConfigError
from wideresnet.records import Alpha, Exif, FinetuneMode, Preprocess
from wideresnet.training.recipe import Recipe

STRENGTHS = tuple(float(f"{10 ** (half / 2):.3g}") for half in range(2, -11, -1))
BATCH_SIZE = 32
# The defaults of the full mode, as keys of a recipe; the others follow from the weights and the images.
FULL_DEFAULTS: dict[str, Any] = {
    "epochs": 10, "learning_rate": 0.01, "schedule": "one-cycle", "warmup": 0.1, "momentum": 0.9,
    "weight_decay": 1e-4, "norm_weight_decay": 0.0, "label_smoothing": 0.1, "norms": "frozen", "stage_rate": 0.7,
}  # fmt: skip
LARGEST = Preprocess(resize=896, crop=896)         # for checks before the source's size is known
DERIVED_KEYS = ("architecture", "data", "seed", "balanced", "input_size", "input_resize", "zero_init")


@dataclass(frozen=True)
class ComputeOptions:
    """Resources of the full mode: a folder for decoded images (None: memory), and the device.

    ``device`` is "cpu", "cuda", or "auto": a GPU if torch finds one.
    """

    cache: Path | None = None
    device: str = "auto"


class FinetuneSettings(BaseModel):
    """The settings of a run: equal settings, weights, images and code give equal bundles on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    mode: FinetuneMode = "probe"
    val_fraction: float = Field(0.2, gt=0, lt=1)   # of each class for validation, if the data has no such split
    seed: int = Field(0, ge=0)
    resolution: int = Field(0, ge=0)               # side of the network's input in pixels; 0: the source's
    balanced: bool = True                          # all classes count equally
    exif: Exif = "transpose"                       # orientation of photographs, as in classify and serve
    alpha: Alpha | Literal[""] = ""                # of transparent images; "": the source's

    # probe: features of each image and, with ``flips``, of its mirror image; the best of several strengths of L2.
    flips: bool = True
    l2: tuple[PositiveFloat, ...] = Field(STRENGTHS, min_length=1, strict=False)

    # full: epochs without improvement after which a run ends (0: never); ``recipe`` overrides ``FULL_DEFAULTS``.
    patience: int = Field(5, ge=0)
    recipe: Mapping[str, Any] = Field({}, validate_default=False)


_ALL_KEYS = [
    key for key in (*FinetuneSettings.model_fields, *Recipe.model_fields)
    if key not in ("recipe", "architecture", "data")
]  # fmt: skip


def read_settings(file: Path | None, changes: Mapping[str, Any]) -> FinetuneSettings:
    """Read settings from a TOML file, if given, and apply ``changes`` (values, or TOML values as text).

    For the full mode the keys of a recipe are settings too. Raises ConfigError, naming the key, if one is unknown or
    out of range.
    """
    values = read_toml(file, "settings") if file else {}
    values |= {key: toml_value(value) if isinstance(value, str) else value for key, value in changes.items()}
    if "share" in values:
        raise ConfigError(f"{file or 'settings'}: no setting called 'share'", hint="write val_fraction")
    outer = {key: values.pop(key) for key in list(values) if key in FinetuneSettings.model_fields and key != "recipe"}
    origin = str(file or "settings")
    settings = validated(FinetuneSettings, outer | {"recipe": values}, origin, _ALL_KEYS)
    averaged = ("patience",) if values.get("swa") else ()               # swa takes all epochs
    for key in ("patience",) if settings.mode == "probe" else ("flips", "l2", *averaged):
        if getattr(settings, key) != FinetuneSettings.model_fields[key].default:
            use = "with swa" if key in averaged else f"in the mode {settings.mode}"
            raise ConfigError(f"{origin}: {key} has no effect {use}", hint=f"leave out {key}")
    if values:
        make_recipe(settings, "wrn_10_1", LARGEST, BATCH_SIZE, origin)
        if settings.mode == "probe":
            raise ConfigError(f"{origin}: {', '.join(values)}: only for the full mode", hint="add --mode full")
    return settings


def make_recipe(
    settings: FinetuneSettings, architecture: str, spec: Preprocess, images: int, origin: str = "settings"
) -> Recipe:
    """Return the recipe of a full run on ``images`` training images, for a source with the preprocessing ``spec``.

    Raises ConfigError, naming ``origin``, if the recipe is not valid or sets a key that follows from the source.
    """
    for key in DERIVED_KEYS:
        if key in settings.recipe:
            raise ConfigError(f"{key} follows from the weights that are fine-tuned", hint="leave it out")
    derived = {
        "architecture": architecture, "data": "folder", "seed": settings.seed, "balanced": settings.balanced,
        "input_size": spec.crop, "input_resize": spec.resize, "alpha": spec.alpha,
    }  # fmt: skip
    defaults = FULL_DEFAULTS | {
        "batch_size": min(BATCH_SIZE, images), "sizes": ((0, spec.crop),), "stored": max(1, round(spec.crop * 8 / 7)),
    }  # fmt: skip
    if settings.recipe.get("schedule") == "steps":
        del defaults["warmup"]                     # a default of the other schedules
    return validated(Recipe, defaults | derived | dict(settings.recipe), origin, _ALL_KEYS)
