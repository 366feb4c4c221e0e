"""Options that would have no effect are refused: whoever gives one expects that it does."""

from __future__ import annotations

import typer

from wideresnet.errors import ConfigError


def given(context: typer.Context, name: str) -> bool:
    """Whether the parameter ``name`` of the command was given, be it with its default's value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def refuse_idle(context: typer.Context, idle: bool, reason: str, *names: str, hint: str = "") -> None:
    """Raise ConfigError where ``idle`` holds and parameters ``names`` were given: ``reason`` says why for nothing."""
    options = [
        max(each.opts, key=len) for each in context.command.params if each.name in names and given(context, each.name)
    ]
    if idle and options:
        verb = "has" if len(options) == 1 else "have"
        listed = ", ".join(options)
        raise ConfigError(f"{listed} {verb} no effect {reason}", hint=hint or f"leave out {listed}")
