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

from wideresnet.cli.options import Alpha, ArchitectureName, EngineName, Precision, Resolution, Threads, Weights
from wideresnet.cli.output import open_bundle

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Exif, InferenceSettings, InferMode
    from wideresnet.tasks.load.load import ModelChoice

CLUSTER = "On a Ray cluster (docs/scale.md)"


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
class ModelOptions:
    """The files of a model, and the images that it expects."""

    weights: Weights = None
    architecture: ArchitectureName = None
    resolution: Resolution = 0
    alpha: Alpha = None

    def choice(self, model: str | None, labels: Path | None = None) -> ModelChoice:
        """Return the model called ``model``, with the class names of the file ``labels``."""
        from wideresnet.tasks.load.load import ModelChoice

        return ModelChoice(model, self.weights, self.architecture, labels)

    def open(self, model: str | None, labels: Path | None = None, transform: str | None = None) -> Bundle:
        """Load the model called ``model``; see ``open_bundle``."""
        return open_bundle(self.choice(model, labels), self.resolution, transform, self.alpha)


@dataclass(frozen=True)
class RuntimeOptions:
    """The engine that runs the model."""

    engine: EngineName = "openvino"
    precision: Precision = "f32"
    threads: Threads = 0

    def settings(self, batch_size: int, exif: Exif, mode: InferMode = "async") -> InferenceSettings:
        """Return the settings of inference with this engine."""
        from wideresnet.records import InferenceSettings

        return InferenceSettings(self.engine, self.precision, self.threads, batch_size, exif, mode=mode)


@dataclass(frozen=True)
class ClusterOptions:
    """The cluster that does the work of a command, if ``ray`` names one."""

    ray: Annotated[
        str,
        typer.Option(
            "--ray", rich_help_panel=CLUSTER,
            help="Use the cluster at HOST:PORT, auto (this machine's) or local (a new one).",
        ),
    ] = ""  # fmt: skip
    workers: Annotated[
        int, typer.Option("--workers", rich_help_panel=CLUSTER, min=0, help="Worker processes; 0: as many as fit.")
    ] = 0
    cpus: Annotated[
        int, typer.Option("--cpus", rich_help_panel=CLUSTER, min=0, help="CPUs a worker; 0: all of the smallest node.")
    ] = 0
    shard_size: Annotated[
        int, typer.Option("--shard-size", rich_help_panel=CLUSTER, min=1, help="Images in a file of the output.")
    ] = 1024

    def round_up(self, batch_size: int) -> int:
        """Return the shard size rounded up to full batches, so that batches are the same as without a cluster."""
        return -(-self.shard_size // batch_size) * batch_size
