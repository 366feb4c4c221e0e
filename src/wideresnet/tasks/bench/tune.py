"""The fastest threads, streams and batch for one model here: a short race over a grid."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.machine import available_cpus
from wideresnet.records import Progress, Tuning
from wideresnet.tasks.bench.candidates import open_contestant
from wideresnet.tasks.bench.options import BenchSettings, entries
from wideresnet.tasks.bench.runner import race

CLOSE = 0.97                                       # of the best speed is as good: noise is no reason


def tune(bundle: Bundle, settings: BenchSettings, folder: Path) -> Generator[Progress, None, Tuning]:
    """Yields progress, returns the fastest setting; of those about as fast, the smallest batch, streams, threads."""
    grid = entries(bundle.card.name, bundle.card.precision, _grid(settings))
    contestants = [open_contestant(entry, bundle, [], folder) for entry in grid]
    results = yield from race(contestants, {}, settings)
    found = [
        Tuning(each.entry.batch, each.info.streams, each.info.threads, round(summary.images_per_s, 1))
        for each, summary in zip(contestants, results.summaries, strict=True)
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(fastest(found), model=bundle.card.name, date=now)


def fastest(found: Sequence[Tuning]) -> Tuning:
    """The simplest setting among those within ``CLOSE`` of the best."""
    best = max(each.images_per_s for each in found)
    close = [each for each in found if each.images_per_s >= CLOSE * best]
    return min(close, key=lambda each: (each.batch, each.streams, each.threads))


def _grid(settings: BenchSettings) -> BenchSettings:
    """All CPUs, and half of them where there are enough: two hardware threads of a core share its arithmetic."""
    cpus = available_cpus()
    streams = [n for n in (1, 2, 4, 8, 16, 32) if n <= cpus]
    threads = [cpus, cpus // 2] if cpus >= 4 else [cpus]
    return replace(
        settings, what=("engine",), engines=("openvino",), precisions=(), batches=(1, 4, 16),
        streams=tuple(streams), threads=tuple(threads), sync=False, baselines=False,
    )  # fmt: skip
