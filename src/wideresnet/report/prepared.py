"""A prepared data set as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records.prepared import PreparedData
from wideresnet.report.names import first_names


def to_text(data: PreparedData) -> str:
    """Return what was prepared from what, and what is missing."""
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
        lines.append(f"  a subset, whose accuracy is not that of the whole; absent: {first_names(data.absent)}")
    if data.left_out:
        names = first_names(data.left_out)
        lines.append(f"  {len(data.left_out):,} left out, not of the set or without a label: {names}")
    return "\n".join(lines)


def to_json(data: PreparedData) -> dict[str, Any]:
    """Return the record as JSON values."""
    return {"schema": 1, **asdict(data), "whole": data.whole}
