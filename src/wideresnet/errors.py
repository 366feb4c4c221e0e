"""All errors of the package. Each states what failed and what was found; its hint says what to do.

    WrnError
    ├── ConfigError      a name, setting or argument is wrong
    ├── ImageError       bytes that are not a readable image
    ├── DataError        labelled data that is missing, incomplete or inconsistent
    ├── WeightsError     a weights file that is missing, damaged, unsafe or of another network
    ├── DownloadError    a file that could not be fetched completely
    ├── BundleError      a model bundle that is incomplete or was changed
    ├── EngineError      a runtime that cannot open or run a graph
    ├── TrainingError    a run that cannot go on (non-finite loss, another run's checkpoint)
    ├── OutputError      standard output or error that cannot be written
    └── MissingExtra     a feature whose optional dependency is not installed

Only ``WrnError`` is caught, by the command line (exit code 2) and the HTTP service (4xx). Anything else is a bug and
keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


class WrnError(Exception):
    """An error with its ``message``, one sentence, and its ``hint``, an imperative (may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def line(self) -> str:
        """The message, and the hint in brackets if there is one."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[type[WrnError], tuple[str, ...]]:
        # Exceptions cross process borders by pickle; the default would lose the hint.
        return type(self), (self.message, self.hint)


class ConfigError(WrnError):
    """A name, setting or argument is wrong."""


class UnknownNameError(ConfigError):
    """Nothing has this name, which may still be a name of another kind."""


class ImageError(WrnError):
    """The bytes are not an image that can be read completely and safely."""


class DataError(WrnError):
    """A labelled data set is missing, incomplete or inconsistent."""


class WeightsError(WrnError):
    """A weights file is missing, damaged, unsafe, or belongs to another network."""


class DownloadError(WrnError):
    """A file could not be fetched completely, or is not the expected one."""


class BundleError(WrnError):
    """A model bundle is incomplete or was changed after it was written."""


class EngineError(WrnError):
    """A runtime cannot open or run a graph."""


class TrainingError(WrnError):
    """A training run cannot go on."""


class OutputError(WrnError):
    """Standard output or error cannot be written."""


class MissingExtra(WrnError):
    """A feature needs an optional dependency that is not installed."""


@contextmanager
def needs_extra(feature: str, extra: str, kind: type[WrnError] = MissingExtra) -> Iterator[None]:
    """Raise ``kind`` with the install command if an import in the block fails."""
    try:
        yield
    except ImportError as error:
        raise _missing_extra(feature, extra, error.name or "a package", kind) from error


def check_extra(feature: str, extra: str, package: str) -> None:
    """Raise MissingExtra if ``package`` is not installed; unlike an import, this takes no time."""
    if find_spec(package) is None:
        raise _missing_extra(feature, extra, package)


def _missing_extra(feature: str, extra: str, package: str, kind: type[WrnError] = MissingExtra) -> WrnError:
    return kind(f"{feature} needs {package}, which is not installed", hint=f"pip install 'wideresnet[{extra}]'")


@contextmanager
def os_errors_as(kind: type[WrnError], problem: str, hint: str = "") -> Iterator[None]:
    """Raise an OSError in the block as ``kind``: ``problem``, then the system's reason."""
    try:
        yield
    except OSError as error:
        raise kind(f"{problem}: {error.strerror or error}", hint) from error


@contextmanager
def errors_as(
    caught: type[Exception] | tuple[type[Exception], ...], kind: type[WrnError], problem: str, hint: str | None = None
) -> Iterator[None]:
    """Raise ``caught`` errors in the block as ``kind``: ``problem``, then the error; without ``hint`` with its own."""
    try:
        yield
    except caught as error:
        raise kind(f"{problem}: {error}", getattr(error, "hint", "") if hint is None else hint) from error


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the closest of ``choices``, or an empty string."""
    matches = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"did you mean {matches[0]!r}?" if matches else ""


def check_choice(kind: str, value: object, choices: Iterable[str], hint: str = "") -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``; ``hint`` is for a value that resembles none."""
    names = list(choices)
    if value not in names:
        hint = did_you_mean(str(value), names) or hint or f"known: {', '.join(names)}"
        raise ConfigError(f"no {kind} called {value!r}", hint=hint)
