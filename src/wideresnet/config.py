"""Settings files: TOML in and out, and pydantic's validation errors as ConfigError."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from wideresnet.errors import ConfigError, did_you_mean, os_errors_as
from wideresnet.pipes import read_text

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: object, file: object, keys: Iterable[str] = ()) -> Model:
    """Return ``values`` as a ``model``. Raises ConfigError, naming ``file`` and the key.

    ``keys`` are all valid keys, for the suggestion; none: those of ``model``.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _config_error(error, file, keys or model.model_fields) from error


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Read a TOML file; ``kind`` names it in the message ("recipe"). Raises ConfigError."""
    try:
        with os_errors_as(ConfigError, f"cannot read the {kind} {path}"):
            return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def toml_value(text: str) -> Any:
    """Parse ``0.1``, ``true`` and ``[1, 2]`` as TOML; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def as_toml(values: Mapping[str, Any]) -> str:
    """Format keys and values as TOML; JSON's strings, numbers and lists of them are valid TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _config_error(error: ValidationError, file: object, keys: Iterable[str]) -> ConfigError:
    """Return one ConfigError for the first error; an unknown key comes first, since it often explains a missing one."""
    errors = error.errors(include_url=False)
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{file}: no setting called {key!r}", hint=did_you_mean(str(first["loc"][-1]), keys))
    value = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
    return ConfigError(f"{file}: {key + ': ' if key else ''}{first['msg']}{value}")
