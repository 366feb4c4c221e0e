"""Groups of options: dataclasses that a command takes as one value each, and typer as one option a field."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Any, get_type_hints


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
