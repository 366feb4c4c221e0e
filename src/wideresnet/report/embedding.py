"""A file of features as text and JSON."""

from __future__ import annotations

from typing import Any

from wideresnet.records import EmbedReport
from wideresnet.report.formats import engine_text, pick, pick_engine


def to_text(report: EmbedReport) -> str:
    """Return the layers of the file with their shapes, and the model and engine, in two lines."""
    layers = ", ".join(f"{name} {[report.n, *shape]}" for name, shape in report.shapes.items())
    return (
        f"{report.file}: {layers} {report.dtype}\n"
        f"  {report.model} with {engine_text(report.engine)}; {len(report.failures)} failures"
    )


def to_json(report: EmbedReport) -> dict[str, Any]:
    """Return the record as JSON values: ``layers`` gives the shape of a row by layer, ``n`` counts the rows."""
    return {
        **pick(report, "file", "model", "n"),
        "layers": {name: list(shape) for name, shape in report.shapes.items()},
        **pick(report, "dtype", "failures", "skipped"),
        **pick_engine(report.engine),
        **pick(report, "assumed"),
    }
