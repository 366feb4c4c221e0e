"""Settings files: TOML in and out, and what pydantic found wrong with one, in our words."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wideresnet.errors import ConfigError, did_you_mean
from wideresnet.pipes import read_text


def explain(error: ValidationError, file: object, known: Iterable[str]) -> ConfigError:
    """One ConfigError for the first fault; an unknown key comes first, since it often explains a missing one.

    ``known`` are all keys there are, for the suggestion.
    """
    faults = error.errors(include_url=False)
    fault = next((each for each in faults if each["type"] == "extra_forbidden"), faults[0])
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return ConfigError(f"{file}: no setting called {key!r}", hint=did_you_mean(str(fault["loc"][-1]), known))
    found = "" if fault["type"] in ("missing", "value_error") else f", got {fault['input']!r}"
    return ConfigError(f"{file}: {key + ': ' if key else ''}{fault['msg']}{found}")


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The keys of a TOML file; ``what`` it is, for the message. Raises ConfigError."""
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def toml_value(text: str) -> Any:
    """``0.1``, ``true`` and ``[1, 2]`` as TOML reads them; anything else is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def as_toml(values: Mapping[str, Any]) -> str:
    """Keys and values as TOML; JSON's strings, numbers and lists of them are TOML's too."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
