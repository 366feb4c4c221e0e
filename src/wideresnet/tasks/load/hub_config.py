"""The config.json beside a weights file, as timm and Transformers write it for model hubs."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError, field_validator, model_validator

from wideresnet.architectures import ARCHITECTURES, Architecture
from wideresnet.bundle import Bundle
from wideresnet.bundle.files import first_fault
from wideresnet.errors import ConfigError, WeightsError
from wideresnet.records import RGB, Labels, Preprocess
from wideresnet.report.escape import json_text
from wideresnet.weights.catalogue import DEFAULTS

NAME = "config.json"
# Our name -> that of torchvision and timm.
FUNCTIONS = {name: name for name in DEFAULTS} | {"wrn_imagenet_18_1": "resnet18", "wrn_imagenet_34_1": "resnet34"}


@dataclass(frozen=True)
class HubConfig:
    """Facts in a config.json: None where it does not state them."""

    labels: Labels | None
    preprocess: Preprocess | None


class _Stated(BaseModel):
    """A part of the document, in which null is as good as absent."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, document: Any) -> Any:
        is_object = isinstance(document, dict)
        return {key: value for key, value in document.items() if value is not None} if is_object else document


class _Pretrained(_Stated):
    """The fields of timm's ``pretrained_cfg`` that decide the transform."""

    input_size: tuple[Literal[3], int, int]     # channels, height, width
    mean: RGB
    std: RGB
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"    # timm's default
    crop_pct: Annotated[float, Field(ge=0.01)] = 0.875
    crop_mode: Literal["center", "squash"] = "center"

    @field_validator("input_size")
    @classmethod
    def _is_square(cls, size: tuple[int, int, int]) -> tuple[int, int, int]:
        if size[1] != size[2]:
            raise ValueError("the networks here take squares")
        return size


class _Config(_Stated):
    """The fields of the document that are read; others are left alone."""

    architecture: str = ""
    num_classes: int | None = None
    global_pool: Literal["avg", ""] | None = None
    model_args: dict[str, Any] = Field({}, max_length=0)     # they change the network
    hidden_act: Literal["relu"] = "relu"           # of Transformers' ResNet, as the next one
    downsample_in_bottleneck: Literal[False] = False         # the stride of a bottleneck is in its first convolution
    label_names: list[str] | dict[str, str | int] = Field([], validation_alias=AliasChoices("label_names", "labels"))
    id2label: dict[int, str] | None = None
    pretrained_cfg: _Pretrained | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_old(cls, document: Any) -> Any:
        """Accept timm's old documents, which are a ``pretrained_cfg`` themselves."""
        old = isinstance(document, dict) and "input_size" in document and document.get("pretrained_cfg") is None
        return {**document, "pretrained_cfg": document} if old else document


def read_config(path: Path, architecture: Architecture, classes: int) -> HubConfig | None:
    """Return what the config.json beside the weights file ``path`` states; None without one.

    Raises WeightsError for one that contradicts the weights, ConfigError for damage.
    """
    file = path.with_name(NAME)
    check_config(file, str(path.parent))
    if (config := _read(file)) is None:
        return None
    function = FUNCTIONS.get(architecture.name, architecture.name)
    if config.architecture in {*FUNCTIONS.values(), *ARCHITECTURES} - {function, architecture.name}:
        problem = f"{file} states {config.architecture}, the weights beside it are {function}"
        raise WeightsError(problem, hint="move it away, or give the weights that it belongs to")
    names, by_index = (_in_order(stated or (), file) for stated in (config.label_names, config.id2label))
    if names and by_index and names != by_index:
        hint = "correct it, or move it away and give --labels"
        raise WeightsError(f"{file} names the classes differently in label_names and id2label", hint)
    names = names or by_index
    for stated in (len(names) or None, config.num_classes):
        if stated not in (None, classes):
            problem = f"{file} names {stated} classes, the weights beside it have {classes}"
            raise WeightsError(problem, hint="move it away, or give the weights that it belongs to")
    return HubConfig(Labels(tuple(names)) if names else None, _preprocess(config.pretrained_cfg))


def _in_order(names: Collection[str] | Mapping[Any, str | int], file: Path) -> list[str]:
    """Return class names in the order of the outputs.

    A mapping from or to indices may be in any, as of {"0", "10", "2"}.
    """
    if not isinstance(names, Mapping):
        return list(names)
    indices = [int(key) for key in names if str(key).isdecimal()]
    if not indices and all(str(value).isdecimal() for value in names.values()):
        indices, names = [int(value) for value in names.values()], {key: key for key in names}
    if not indices:
        return list(map(str, names.values()))      # by ids, in their order
    if sorted(indices) != list(range(len(names))):
        problem = f"{file} names classes by other indices than 0 to {len(names) - 1}, each once"
        raise WeightsError(problem, hint="correct it, or move it away and give --labels")
    return [str(name) for _, name in sorted(zip(indices, names.values(), strict=True))]


def check_config(file: Path, source: str) -> None:
    """Raise ConfigError if the config.json ``file`` of ``source`` is damaged, or of a network that is not here."""
    config = _read(file)
    if config and config.pretrained_cfg and config.architecture not in ("", *FUNCTIONS.values(), *ARCHITECTURES):
        problem = f"{source} is {config.architecture}, which is not among the networks here"
        raise ConfigError(problem, hint=f"of timm's these are: {', '.join(FUNCTIONS.values())}")


def _read(file: Path) -> _Config | None:
    try:
        return _Config.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else first_fault(error)
        raise ConfigError(f"cannot read {file} beside the weights: {reason}", hint="correct it, or move it") from error


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
