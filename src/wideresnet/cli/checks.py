"""Rejection of options that would have no effect, contrary to what the user expects."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand

from wideresnet.errors import ConfigError, check_extra

if TYPE_CHECKING:
    from typer._click.core import Context

    from wideresnet.records import ModelCard

# Options of earlier versions, and what takes their place.
RENAMED = {
    "--share": "--val-fraction 0.2", "--batch": "--batch-size", "--sync": "--infer-mode sync",
    "--async": "--infer-mode async",
}  # fmt: skip


def check_renamed(command: TyperCommand, arguments: list[str]) -> None:
    """Raise ConfigError for an option that has another name now."""
    options = {option for parameter in command.params for option in parameter.opts}
    for argument in arguments:
        name = argument.partition("=")[0]
        if name in RENAMED and name not in options and RENAMED[name].split()[0] in options:
            raise ConfigError(f"no option {name}", hint=f"use {RENAMED[name]}")


def check_empty(command: TyperCommand, context: Context, arguments: list[str]) -> None:
    """Raise ConfigError for an empty string: as a path it is the current folder, as a shard all images."""
    values = command.make_parser(context).parse_args([*arguments])[0] if arguments else {}
    for parameter in command.params:
        value = values.get(parameter.name, ())
        if "" in (value if isinstance(value, list | tuple) else [value]):
            name = max(parameter.opts, key=len)
            name = name if name.startswith("-") else name.upper()
            raise ConfigError(f"{name} is an empty string", hint="check the shell variable that stands there")


OUTPUTS = ("output", "page", "report")             # parameters that name files to write


def check_outputs(context: Context) -> None:
    """Raise ConfigError if a file to write is there and is an image, a parameter or a shard of one, before any work."""
    values = {name: value if isinstance(value, list | tuple) else [value] for name, value in context.params.items()}
    named = (values[name] for name in values if name not in OUTPUTS)
    inputs = [value for several in named for value in several if isinstance(value, str | Path)]
    for output in filter(os.path.isfile, filter(None, (context.params.get(name) for name in OUTPUTS))):
        from wideresnet.datasets.shards import find_shards
        from wideresnet.images.files import AMBIGUOUS
        from wideresnet.images.sniff import first_bytes, image_format
        from wideresnet.output.atomic import check_not_input

        shards = (find_shards(Path(path)).files for path in inputs if os.path.isdir(path))
        check_not_input(Path(output), chain(inputs, *shards))
        kind = image_format(first_bytes(Path(output)))
        if kind and kind not in AMBIGUOUS:         # a forgotten name: the shell made '--report photos/*' take a photo
            raise ConfigError(f"{output} is an image ({kind}) and would be overwritten", hint="name another file")


def check_percent(option: str, value: float) -> None:
    """Raise ConfigError if ``value`` looks like a fraction; ``option`` takes a percentage."""
    if 0 < value <= 1:
        raise ConfigError(f"{option} takes a percentage, got {value:g}", hint=f"{option} {100 * value:g}")


def check_coverage(coverage: float | None) -> float | None:
    """Return ``coverage``, in percent. Raises ConfigError for a fraction, and for one that no sets have."""
    if coverage is not None:
        from wideresnet.prediction_sets import PERCENT

        least, most = PERCENT
        if least / 100 <= coverage < 1:
            check_percent("--coverage", coverage)
        if not least <= coverage <= most:
            problem = f"--coverage takes a percentage from {least} to {most}, got {coverage:g}"
            raise ConfigError(problem, "--coverage 95")
    return coverage


def check_device(device: str) -> str:
    """Return ``device``. Raises ConfigError for another one than the CPU."""
    if device != "cpu":
        raise ConfigError(f"no device {device!r} for inference: there is only cpu", hint="leave out --device")
    return device


ENGINE_EXTRAS = {"onnxruntime": ("onnxruntime", "onnxruntime"), "pytorch": ("train", "torch")}     # extra, package


def check_engine(engine: str) -> None:
    """Raise MissingExtra if the runtime ``engine`` is not installed, before a model is downloaded for it."""
    if engine in ENGINE_EXTRAS:
        check_extra(f"the engine {engine}", *ENGINE_EXTRAS[engine])


def is_set(context: typer.Context, name: str) -> bool:
    """Return whether the parameter ``name`` was given on the command line, even with its default's value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def notes_on_top_k(context: typer.Context, card: ModelCard) -> list[str]:
    """Return a note if ``-k`` was given and is more than the classes of the model."""
    k = context.params["k"]
    return [f"-k {k}: the model has {card.classes} classes"] if is_set(context, "k") and k > card.classes else []


def check_unused(context: typer.Context, unused: bool, reason: str, *names: str, hint: str = "") -> None:
    """Raise ConfigError if one of the parameters ``names`` was given but is ``unused`` for ``reason``."""
    options = [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name in names and is_set(context, parameter.name)
    ]
    if unused and options:
        verb = "has" if len(options) == 1 else "have"
        listed = ", ".join(options)
        raise ConfigError(f"{listed} {verb} no effect {reason}", hint=hint or f"leave out {listed}")
