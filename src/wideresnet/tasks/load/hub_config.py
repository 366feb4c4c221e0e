"""The config.json beside a weights file, as timm and Transformers write it for model hubs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from wideresnet.bundle import Bundle
from wideresnet.errors import ConfigError, WeightsError
from wideresnet.records import RGB, Labels, Preprocess
from wideresnet.report.escape import json_text

NAME = "config.json"


@dataclass(frozen=True)
class HubConfig:
    """Facts in a config.json: None where it does not state them."""

    labels: Labels | None
    preprocess: Preprocess | None


class _Pretrained(BaseModel):
    """The fields of timm's ``pretrained_cfg`` that decide the transform."""

    input_size: tuple[int, int, int]
    mean: RGB
    std: RGB
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    crop_pct: Annotated[float, Field(gt=0)] = 0.875
    crop_mode: Literal["center", "squash"] = "center"


class _Config(BaseModel):
    """The fields of the document that are read; others are left alone."""

    label_names: list[str] | dict[str, str] | None = None
    id2label: dict[int, str] | None = None
    pretrained_cfg: _Pretrained | None = None



def read_config(path: Path, classes: int) -> HubConfig | None:
    """Return what the config.json beside the weights file ``path`` states; None without one.

    Raises WeightsError for one that contradicts the weights, ConfigError for damage.
    """
    file = path.with_name(NAME)
    try:
        config = _Config.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise ConfigError(f"cannot read {file} beside the weights: {reason}", hint="correct it, or move it") from error
    names: Any = config.label_names or config.id2label
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names, key=int)] if config.id2label else list(names.values())
    if names and len(names) != classes:
        raise WeightsError(
            f"{file} names {len(names)} classes, the weights beside it have {classes}",
            hint="move it away, or give the weights that it belongs to",
        )
    return HubConfig(Labels(tuple(names)) if names else None, _preprocess(config.pretrained_cfg))


def _preprocess(config: _Pretrained | None) -> Preprocess | None:
    if config is None:
        return None
    side, squash = config.input_size[1], config.crop_mode == "squash"
    resize = int(side / config.crop_pct)           # timm rounds down
    return Preprocess(resize, side, config.interpolation, "squash" if squash else "shortest", config.mean, config.std)


def config_text(architecture: str, bundle: Bundle) -> str:
    """Return the config.json of a bundle, whose network timm calls ``architecture``.

    timm has no filter of OpenCV's: "opencv-bilinear" becomes "bilinear".
    """
    spec, classes = bundle.card.preprocess, {"num_classes": bundle.card.classes}
    exact, mode = spec.crop / spec.resize, "squash" if spec.mode == "squash" else "center"
    # timm divides by it and rounds down.
    fraction = exact if int(spec.crop / exact) == spec.resize else math.nextafter(exact, 0)
    pretrained = {
        "input_size": [3, spec.crop, spec.crop], "interpolation": spec.interpolation.removeprefix("opencv-"),
        "crop_pct": fraction, "crop_mode": mode, "mean": spec.mean, "std": spec.std,
        **classes, "first_conv": "conv1", "classifier": "fc",
    }  # fmt: skip
    document = {"architecture": architecture, **classes, "label_names": bundle.labels.names}
    return json_text({**document, "pretrained_cfg": pretrained}, indent=1) + "\n"
