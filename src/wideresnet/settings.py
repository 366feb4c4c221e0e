"""What pydantic found wrong with a settings file, in our words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from wideresnet.errors import ConfigError, did_you_mean


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
