"""The option --data of commands that check the normalisation of a weights file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wideresnet.cli.output import list_notes, open_data
from wideresnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from wideresnet.bundle import Bundle
    from wideresnet.records import Item, Labels


def open_items(data: Path, labels: Labels) -> Sequence[Item]:
    """Return the images at ``data``: a labelled set, or a folder of any images."""
    from wideresnet.datasets.shards import check_inputs
    from wideresnet.tasks.classify.sources import InputImages

    try:
        return open_data(data, labels).items
    except (ConfigError, DataError):
        if not data.is_dir():
            raise
        check_inputs([data])
        return list(InputImages([data]))


def check_normalisation(bundle: Bundle, data: Path | None) -> None:
    """Say on stderr whether the images at ``data`` fit the normalisation assumed for a weights file."""
    from wideresnet.tasks.load.check_statistics import statistics_warning

    if data is None:
        return
    if bundle.stem is None:
        raise ConfigError(f"no normalisation is assumed for {bundle.card.name}", hint="leave out --data")
    warnings = statistics_warning(bundle, open_items(data, bundle.labels))
    list_notes(warnings, "warning")
    if not warnings:
        list_notes(["the statistics of the first batch norm fit this normalisation"])
