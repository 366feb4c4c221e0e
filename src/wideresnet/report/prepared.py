"""What was prepared, in words and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wideresnet.records.prepared import PreparedData

SHOWN = 5                                          # names of each list


def of_prepared(data: PreparedData) -> str:
    """A few lines for people."""
    lines = [
        f"{data.index}: {data.pictures:,} of the {data.official:,} images of {data.name}, {data.classes:,} classes,"
        f" {data.full_classes:,} of them complete",
        f"  labels from {' and '.join(data.labels_from)}",
    ]
    if data.extracted:
        lines.append(f"  {data.extracted:,} images extracted")
    if data.folders:
        lines.append(f"  {data.folders}: {data.linked:,} hard links, {data.copied:,} copies made")
    if data.absent:
        lines.append(f"  a subset, whose accuracy is not that of the whole; absent: {_some(data.absent)}")
    if data.left_out:
        lines.append(f"  {len(data.left_out):,} left out, not of the set or without a label: {_some(data.left_out)}")
    return "\n".join(lines)


def document(data: PreparedData) -> dict[str, Any]:
    """The whole record."""
    return {"schema": 1, **asdict(data), "whole": data.whole}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
