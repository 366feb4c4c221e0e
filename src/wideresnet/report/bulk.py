"""Bulk runs in words, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from wideresnet.records import BulkReport


def of_bulk(report: BulkReport) -> str:
    """What was answered, where, how fast, and what got in the way."""
    there = f" ({report.kept} were there before)" if report.kept else ""
    ran = ", ".join(f"{each.runtime} {each.precision}, {each.threads} threads" for each in report.engines)
    lines = [
        f"{report.output}: {report.pictures:,} images in {report.shards} shards{there} by {report.model}, {ran}",
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


def document_of(report: BulkReport) -> dict[str, Any]:
    """The same as JSON values; how many failed instead of which."""
    values = asdict(report)
    return {**values, "failures": len(report.failures)}
