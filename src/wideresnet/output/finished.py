"""The failures in a finished file of answers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from wideresnet.errors import ConfigError, os_errors_as
from wideresnet.output.answers import COLUMNS
from wideresnet.output.row_format import read_rows


def any_failed(file: Path, format: str, columns: Collection[str] = tuple(COLUMNS)) -> bool:
    """Return whether an image failed, one answer in memory at a time; False for text and the zoo's lines.

    Raises ConfigError if the file was not written in this format.
    """
    if format in ("table", "zoo"):
        return False
    try:
        with os_errors_as(ConfigError, f"cannot read {file}"):
            return any(row.get("error") for row in read_rows(file, format, columns, ["error"]))
    except (ValueError, AttributeError) as error:        # also what pyarrow raises
        hint = "without --resume it is replaced at the end"
        raise ConfigError(f"{file} exists and is not a {format} file of answers", hint) from error
