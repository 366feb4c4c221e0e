"""Groups of options: dataclasses that a command takes as one value each, and typer as one option a field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from wideresnet.cli import options
from wideresnet.cli.checks import check_engine
from wideresnet.cli.output import open_bundle

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Exif, FileFacts, InferenceSettings, InferMode
    from wideresnet.tasks.load.load import ModelChoice

VARIANT = ("activation", "bn_eps", "shortcut", "stride_on", "padding", "final_pool")
FACT_NAMES = ("normalise", "which", *VARIANT)


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` with the fields of its dataclass parameters as parameters of their own, for typer."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        parameters += _fields(group) if group else [parameter.replace(annotation=hints[parameter.name])]

    @wraps(command)
    def run(**_values: Any) -> None:
        for name, group in groups.items():
            _values[name] = group(**{field.name: _values.pop(field.name) for field in fields(group)})
        command(**_values)

    keyword = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    return run


def _fields(group: Any) -> list[Parameter]:
    """Return the fields of a dataclass whose fields all have defaults as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, annotation=hints[field.name], default=field.default)
        for field in fields(group)
    ]


@dataclass(frozen=True)
class FileOptions:
    """Facts about a model that its file may not state."""

    normalise: Annotated[str, typer.Option(help=
        "Mean and standard deviation of the pixels: imagenet, cifar10, cifar100, svhn, unit (0 to 1), half (-1 to 1),"
        " none, or 'm,m,m/s,s,s' of values from 0 to 1."
    )] = ""  # fmt: skip
    which: Annotated[str, typer.Option(help="The copy of the weights: ema, live, or the beginning of its names.")] = ""
    activation: Annotated[str | None, typer.Option(help="relu, leaky_relu (slope 0.1) or silu.")] = None
    bn_eps: Annotated[float | None, typer.Option(help="The epsilon of the batch norms.")] = None
    shortcut: Annotated[
        str | None, typer.Option(help="What shortcuts read: activated, raw, always or skip_norm.")
    ] = None
    stride_on: Annotated[
        str | None, typer.Option(help="The convolution of a block that has the stride: conv1 or conv2.")
    ] = None
    padding: Annotated[str | None, typer.Option(help="symmetric, or same: as TensorFlow pads at stride 2.")] = None
    final_pool: Annotated[
        str | None, typer.Option(help="The pooling before the classifier: avg, max or avgmax.")
    ] = None

    def facts(self, architecture: str | None = None, *, headless: bool = False) -> FileFacts:
        """Return the facts. Raises ConfigError for a normalisation that does not exist."""
        from wideresnet.datasets.statistics import parse_normalisation
        from wideresnet.records import FileFacts

        values = {name.removeprefix("final_"): getattr(self, name) for name in VARIANT}
        variant = {name: value for name, value in values.items() if value is not None}
        normalise = parse_normalisation(self.normalise) if self.normalise else None
        return FileFacts(architecture, normalise, self.which or None, variant, headless)


@dataclass(frozen=True)
class WeightsOptions(FileOptions):
    """The files of a model."""

    weights: options.Weights = None
    architecture: options.ArchitectureName = None

    def choice(self, model: str | None, labels: Path | None = None, *, headless: bool = False) -> ModelChoice:
        """Return the model called ``model``, with the class names of the file ``labels``."""
        from wideresnet.tasks.load.load import ModelChoice

        return ModelChoice(model, self.weights, labels, facts=self.facts(self.architecture, headless=headless))


@dataclass(frozen=True)
class ModelOptions(WeightsOptions):
    """The files of a model, and the images that it expects."""

    resolution: options.Resolution = 0
    alpha: options.Alpha = None

    def open(
        self, model: str | None, labels: Path | None = None, transform: str | None = None, *, headless: bool = False
    ) -> Bundle:
        """Load the model called ``model``; see ``open_bundle``."""
        return open_bundle(self.choice(model, labels, headless=headless), self.resolution, transform, self.alpha)


@dataclass(frozen=True)
class RuntimeOptions:
    """The engine that runs the model."""

    engine: options.EngineName = "openvino"
    precision: options.Precision = "f32"
    threads: options.Threads = 0
    device: options.InferenceDevice = "cpu"

    def __post_init__(self) -> None:
        check_engine(self.engine)

    def settings(
        self, batch_size: int, exif: Exif, mode: InferMode = "async", coverage: float | None = None
    ) -> InferenceSettings:
        """Return the settings of inference with this engine; ``coverage`` is in percent."""
        from wideresnet.records import InferenceSettings

        return InferenceSettings(
            self.engine, self.precision, self.threads, batch_size, exif, mode=mode, coverage=(coverage or 0) / 100
        )


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster that does the work of a command, if ``ray`` names one."""

    ray: Annotated[
        str,
        typer.Option("--ray", help="Use the cluster at HOST:PORT, auto (this machine's) or local (a new one)."),
    ] = ""
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0: as many as fit.")] = 0
    cpus: Annotated[int, typer.Option(min=0, help="CPUs per worker; 0: all of the smallest node.")] = 0
    shard_size: Annotated[int, typer.Option(min=1, help="Images per output file, rounded up to full batches.")] = 1024

    def round_up(self, batch_size: int) -> int:
        """Return the shard size rounded up to full batches, so that batches are the same as without a cluster."""
        return -(-self.shard_size // batch_size) * batch_size
