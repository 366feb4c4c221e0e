"""A bulk run as text and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records import BulkReport


def to_text(report: BulkReport) -> str:
    """Return how many images were answered, where, how fast, and what went wrong."""
    earlier = f" ({report.kept} were there before)" if report.kept else ""
    engines = ", ".join(f"{engine.runtime} {engine.precision}, {engine.threads} threads" for engine in report.engines)
    lines = [
        f"{report.output}: {report.pictures:,} images in {report.shards} shards{earlier} by {report.model}, {engines}",
        "  shards by host: " + ", ".join(f"{host} {count}" for host, count in sorted(report.shards_of_host.items())),
    ]
    if not report.kept and report.seconds:
        rate = report.pictures / report.seconds
        lines.append(f"  {rate:.1f} images/s over {report.seconds:.1f} s, with the start of the workers")
    if report.again:
        lines.append(f"  shards that took more than one attempt: {report.again}")
    lines += [f"  left out: the node {node[:8]} of {reason}" for node, reason in report.avoided.items()]
    if report.failures:
        lines.append(f"  images that failed: {len(report.failures)}")
    return "\n".join(lines)


def to_json(report: BulkReport) -> dict[str, Any]:
    """Return the record as JSON values, with the number of failures instead of the failures."""
    return {**asdict(report), "failures": len(report.failures)}
