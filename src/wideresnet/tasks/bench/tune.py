"""Find the fastest threads, streams and batch for one model on this machine: a short measurement over a grid."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.machine import available_cpus
from wideresnet.records import Progress, Tuning
from wideresnet.tasks.bench.candidates import open_candidate
from wideresnet.tasks.bench.measure import measure
from wideresnet.tasks.bench.options import BenchSettings, entries

CLOSE = 0.97                                       # fraction of the best speed: closer is within the noise


def tune(bundle: Bundle, settings: BenchSettings, folder: Path) -> Generator[Progress, None, Tuning]:
    """Yield progress, return the fastest setting; among equals, that of the smallest batch, streams and threads."""
    grid = entries(bundle.card.name, bundle.card.precision, _grid(settings))
    candidates = [open_candidate(entry, bundle, [], folder) for entry in grid]
    results = yield from measure(candidates, {}, settings)
    tunings = [
        Tuning(candidate.entry.batch, candidate.info.streams, candidate.info.threads, round(summary.images_per_s, 1))
        for candidate, summary in zip(candidates, results.summaries, strict=True)
    ]
    return replace(fastest(tunings), model=bundle.card.name, date=datetime.now(UTC).isoformat(timespec="seconds"))


def fastest(tunings: Sequence[Tuning]) -> Tuning:
    """Return the simplest setting within ``CLOSE`` of the best speed."""
    best = max(tuning.images_per_s for tuning in tunings)
    close = [tuning for tuning in tunings if tuning.images_per_s >= CLOSE * best]
    return min(close, key=lambda tuning: (tuning.batch, tuning.streams, tuning.threads))


def _grid(settings: BenchSettings) -> BenchSettings:
    """Return the grid: all CPUs, and half of 4 or more, because hardware threads of a core share its arithmetic."""
    cpus = available_cpus()
    streams = [n for n in (1, 2, 4, 8, 16, 32) if n <= cpus]
    threads = [cpus, cpus // 2] if cpus >= 4 else [cpus]
    return replace(
        settings, measurements=("engine",), engines=("openvino",), precisions=(), batches=(1, 4, 16),
        streams=tuple(streams), threads=tuple(threads), sync=False,
    )  # fmt: skip
