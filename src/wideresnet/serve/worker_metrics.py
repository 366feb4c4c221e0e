"""The metrics of all workers of a service: each writes its own to a file, and what any of them reports is the sum.

The file of a worker that has ended is renamed and kept, so that no counter falls. What a killed worker counted after
its last write is lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from operator import add
from pathlib import Path
from uuid import uuid4

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from wideresnet.serve.metrics import Metrics

LIVE, ENDED = ".live", ".ended"                    # suffixes of the files of workers
# Gauges that are no parts of a sum: the largest and the smallest of the workers, since the worst is of interest.
_LARGEST = {
    "wrn_model_info", "wrn_model_outdated", "wrn_draining", "wrn_p_value_distance", "wrn_cascade_unusual",
    "wrn_cascade_certified_fraction", "process_max_fds",
}  # fmt: skip
_SMALLEST = {"wrn_p_value_images", "process_start_time_seconds"}


def write_metrics(metrics: Metrics, folder: Path) -> None:
    """Write the metrics of this process."""
    part = folder / f"{os.getpid()}.part"
    with suppress(FileNotFoundError):              # the parent has ended, and its folder
        part.write_bytes(metrics.render())
        part.replace(part.with_suffix(LIVE))


def keep_counts(pid: int | None, folder: Path) -> None:
    """Rename the file of a worker that has ended, to a name that no later process with the same number has."""
    live = folder / f"{pid}{LIVE}"
    with suppress(OSError):                        # a full disk
        live.touch()
        live.replace(folder / f"{pid}-{uuid4().hex}{ENDED}")


def count_workers(folder: Path, suffix: str = LIVE) -> int:
    """Return the number of workers with open models, or of those that have ended."""
    return len([*folder.glob(f"*{suffix}")])


def render_sum(metrics: Metrics, folder: Path) -> bytes:
    """Return the sums of the metrics of all workers in Prometheus' text format; this process's own are current."""
    write_metrics(metrics, folder)
    while True:
        with suppress(FileNotFoundError):          # a worker has just ended: its file has another name
            return generate_latest(_Sum(folder))


class _Sum(Collector):
    """The sum of the files in a folder; of workers that have ended, only what is counted."""

    def __init__(self, folder: Path) -> None:
        restarts = CounterMetricFamily("wrn_worker_restarts", "Ended workers.", count_workers(folder, ENDED))
        self._metrics: dict[str, Metric] = {"": restarts}
        for file in (*folder.glob(f"*{ENDED}"), *folder.glob(f"*{LIVE}")):
            for metric in text_string_to_metric_families(file.read_text("utf-8")):
                if file.suffix == LIVE or metric.type in ("counter", "histogram", "summary"):
                    self._add(metric)

    def _add(self, metric: Metric) -> None:
        total = self._metrics.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
        is_smallest = metric.name in _SMALLEST or metric.name.endswith("_created")
        combine = _larger if metric.name in _LARGEST else min if is_smallest else add
        values = {(sample.name, *sample.labels.items()): sample for sample in total.samples}
        for sample in metric.samples:
            before = values.get(key := (sample.name, *sample.labels.items()))
            values[key] = sample._replace(value=combine(before.value, sample.value)) if before else sample
        total.samples = [*values.values()]

    def collect(self) -> list[Metric]:
        """Return every metric."""
        return [*self._metrics.values()]


def _larger(a: float, b: float) -> float:
    return max(a, b) if a == a else b              # or the one that is a number
