"""Settings files: YAML in, TOML in and out, and pydantic's validation errors as ConfigError."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from wideresnet.errors import ConfigError, did_you_mean, os_errors_as
from wideresnet.pipes import read_text

# Of a settings file. Brackets that stay open slow YAML, keys of many dots TOML.
MAX_CHARACTERS, MAX_BRACKETS, MAX_DOTS = 2**18, 500, 5000
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
    return cast(dict[str, Any], _read(path, f"the {kind} {path}", "TOML", tomllib.loads))


def read_yaml(path: Path) -> Any:
    """Read a YAML file without aliases. Raises ConfigError."""
    return _read(path, str(path), "YAML", _parse_yaml)


def _read(path: Path, name: str, language: str, parse: Callable[[str], Any]) -> Any:
    try:
        with os_errors_as(ConfigError, f"cannot read {name}"):
            text = read_text(path).removeprefix("\ufeff")            # the mark of Windows' editors
        if len(text) > MAX_CHARACTERS or text.count("[") > MAX_BRACKETS or text.count(".") > MAX_DOTS:
            raise ValueError(f"it has over {MAX_CHARACTERS:,} characters, {MAX_BRACKETS} brackets or {MAX_DOTS} dots")
        if "\\x00" not in repr(content := parse(text)):       # repr() also refuses long numbers in hexadecimal
            return content
        raise ValueError("it has a text with a zero byte")
    except (yaml.YAMLError, ValueError, RecursionError) as error:      # ValueError: dates, and numbers without end
        raise ConfigError(f"{path} is not {language}: {' '.join(str(error).split())}") from error


def _parse_yaml(text: str) -> Any:
    """Parse YAML without aliases, with which a few lines would stand for any amount of memory."""
    if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise yaml.YAMLError("it has an alias, such as *name: write the value out")
    return yaml.load(text, _OneValueAKey)


class _OneValueAKey(yaml.SafeLoader):
    """YAML's own loader takes the last value of a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping. Raises YAMLError where a key is there twice."""
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if doubled := [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"it has the key {doubled[0]!r} twice")
        return super().construct_mapping(node, deep)


def toml_value(text: str) -> Any:
    """Parse ``0.1``, ``true`` and ``[1, 2]`` as TOML; anything else is text. Raises ConfigError for several keys."""
    try:
        values = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if len(values) > 1:
        raise ConfigError(f"a setting has one value, got {text!r}", hint="set each key by itself")
    return values["value"]


def as_toml(values: Mapping[str, Any]) -> str:
    """Format keys and values as TOML. Raises ConfigError for a value that TOML cannot hold."""
    return "".join(f"{key} = {toml_text(key, value)}\n" for key, value in values.items())


def toml_text(key: str, value: object) -> str:
    """Format the value of a setting as TOML; JSON's strings, numbers and lists of them are valid TOML."""
    try:
        text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key} cannot be {value!r}: {error}", hint="give numbers, text, or lists of them") from error
    return text.replace("\x7f", r"\u007f")


def _config_error(error: ValidationError, file: object, keys: Iterable[str]) -> ConfigError:
    """Return one ConfigError for the first error; an unknown key comes first, since it often explains a missing one."""
    errors = error.errors(include_url=False)
    first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{file}: no setting called {key!r}", hint=did_you_mean(str(first["loc"][-1]), keys))
    value = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(f"{file}: {key + ': ' if key else ''}{message}{value}", hint=_fraction_hint(first))


def _fraction_hint(error: ErrorDetails) -> str:
    """Return a hint for a number that looks like a percentage where a fraction is expected, or an empty string."""
    limits = error.get("ctx", {})
    if limits.get("lt", limits.get("le")) != 1 or not 1 < float(error["input"]) <= 100:
        return ""
    return f"it is a fraction: {float(error['input']) / 100:g} is {float(error['input']):g} %"
