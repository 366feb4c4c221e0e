"""Everything that decides a fine-tuning run, in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from wideresnet.config import explain, read_toml, toml_value
from wideresnet.errors import ConfigError
from wideresnet.records import Alpha, Exif, FinetuneMode, Preprocess
from wideresnet.training.recipe import Recipe

STRENGTHS = tuple(float(f"{10 ** (half / 2):.3g}") for half in range(2, -11, -1))
BATCH = 32
# What --mode full begins with, as keys of a recipe; the rest follows from the weights and the images.
FULL: dict[str, Any] = {
    "epochs": 10, "learning_rate": 0.01, "schedule": "one-cycle", "warmup": 0.1, "momentum": 0.9,
    "weight_decay": 1e-4, "norm_weight_decay": 0.0, "label_smoothing": 0.1, "norms": "frozen", "stage_rate": 0.7,
}  # fmt: skip
LARGE = Preprocess(resize=896, crop=896)           # any that may be asked for is smaller
GIVEN = ("architecture", "data", "seed", "balanced", "input_size", "input_resize")


class FinetuneSettings(BaseModel):
    """Two runs with equal settings, weights, images and code, on one machine, give the same bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: FinetuneMode = "probe"
    share: float = Field(0.2, gt=0, lt=1)          # of each class that judges, where the folder has no train/ and val/
    seed: int = Field(0, ge=0)
    resolution: int = Field(0, ge=0)               # pixels a side that the network is shown; 0: as its card says
    balanced: bool = True                          # each class counts as much as any other
    exif: Exif = "transpose"                       # photographs upright, as classify and serve will show them
    alpha: Alpha | Literal[""] = ""                # of transparent images; "": as the source's card says

    # probe: features of each image as it is and, with ``flips``, mirrored; the best of several strengths of L2.
    flips: bool = True
    l2: tuple[PositiveFloat, ...] = Field(STRENGTHS, min_length=1)

    # full: ends after so many epochs without a better one (0: never); ``recipe`` goes over ``FULL``.
    patience: int = Field(5, ge=0)
    recipe: Mapping[str, Any] = Field({}, validate_default=False)


_KNOWN = [key for key in (*FinetuneSettings.model_fields, *Recipe.model_fields) if key not in ("recipe", *GIVEN[:2])]


def read_settings(file: Path | None, changes: Mapping[str, Any]) -> FinetuneSettings:
    """The settings in a TOML file, if there is one, with ``changes`` (values, or TOML values as text) put over it.

    Keys of a recipe are settings too, for the full mode. Raises ConfigError, naming the key, for anything unknown or
    out of range.
    """
    values = read_toml(file, "settings") if file else {}
    values |= {key: toml_value(value) if isinstance(value, str) else value for key, value in changes.items()}
    own = {key: values.pop(key) for key in list(values) if key in FinetuneSettings.model_fields and key != "recipe"}
    where = str(file or "settings")
    try:
        settings = FinetuneSettings.model_validate(own | {"recipe": values})
    except ValidationError as error:
        raise explain(error, where, _KNOWN) from error
    for key in ("patience",) if settings.mode == "probe" else ("flips", "l2"):
        if getattr(settings, key) != FinetuneSettings.model_fields[key].default:
            raise ConfigError(f"{where}: {key} has no effect in the mode {settings.mode}", hint=f"leave out {key}")
    if values:
        make_recipe(settings, "wrn_10_1", LARGE, BATCH, where)
        if settings.mode == "probe":
            raise ConfigError(f"{where}: {', '.join(values)}: only the full mode has that", hint="say --mode full")
    return settings


def make_recipe(
    settings: FinetuneSettings, architecture: str, spec: Preprocess, images: int, where: str = "settings"
) -> Recipe:
    """The recipe of a full run on so many images, for weights that want to see them as ``spec`` says.

    Raises ConfigError, which names ``where`` the settings come from, also for a key that follows from the weights.
    """
    for key in GIVEN:
        if key in settings.recipe:
            raise ConfigError(f"{key} follows from the weights that are fine-tuned", hint="leave it out")
    given = {
        "architecture": architecture, "data": "folder", "seed": settings.seed, "balanced": settings.balanced,
        "input_size": spec.crop, "input_resize": spec.resize, "alpha": spec.alpha,
    }  # fmt: skip
    usual = {
        "batch_size": min(BATCH, images), "sizes": ((0, spec.crop),), "stored": max(1, round(spec.crop * 8 / 7)),
    }  # fmt: skip
    try:
        return Recipe.model_validate(FULL | usual | given | dict(settings.recipe))
    except ValidationError as error:
        raise explain(error, where, _KNOWN) from error
