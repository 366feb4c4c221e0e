"""Rejection of options that would have no effect, because the user expects one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand

from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from typer._click.core import Context


def check_empty(command: TyperCommand, context: Context, arguments: list[str]) -> None:
    """Raise ConfigError for an empty string where the default is not one: a path of none is the current folder."""
    values = command.make_parser(context).parse_args([*arguments])[0] if arguments else {}
    for parameter in command.params:
        value = values.get(parameter.name, ())
        if parameter.default != "" and "" in (value if isinstance(value, list | tuple) else [value]):
            name = max(parameter.opts, key=len)
            name = name if name.startswith("-") else name.upper()
            raise ConfigError(f"{name} is an empty string", hint="check the shell variable that stands there")


def is_set(context: typer.Context, name: str) -> bool:
    """Return whether the parameter ``name`` was given on the command line, even with its default's value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


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
