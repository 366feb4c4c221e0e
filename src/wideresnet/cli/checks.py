"""Rejection of options that would have no effect, because the user expects one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from typer.core import TyperCommand

from wideresnet.errors import ConfigError

if TYPE_CHECKING:
    from typer._click.core import Context


class Command(TyperCommand):
    """A command that refuses empty strings: a path of none would be the current folder."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse ``args`` into ``ctx``. Raises ConfigError for an empty string where the default is not one."""
        values = self.make_parser(ctx).parse_args([*args])[0] if args else {}
        for parameter in self.params:
            value = values.get(parameter.name, ())
            if parameter.default != "" and "" in (value if isinstance(value, list | tuple) else [value]):
                name = max(parameter.opts, key=len)
                name = name if name.startswith("-") else name.upper()
                raise ConfigError(f"{name} is an empty string", hint="check the shell variable that stands there")
        return super().parse_args(ctx, args)


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
