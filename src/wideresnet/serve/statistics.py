"""Counts and times of one open model, in the form of Triton's statistics extension."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

# Triton's name -> name here. "" is always 0: the output is not timed separately, and there is no cache.
_NAMES = {
    "success": "success", "fail": "fail", "queue": "wait", "compute_input": "decode", "compute_infer": "infer",
    "compute_output": "", "cache_hit": "", "cache_miss": "",
}  # fmt: skip


class InferenceStatistics:
    """Counts of one model since it was opened; only changed on the event loop, hence no lock."""

    def __init__(self) -> None:
        self.images = self.executions = 0          # images inferred, runs of the engine
        self._last = 0.0                           # end of the latest run, seconds since 1970
        self._counts, self._seconds = dict.fromkeys(_NAMES.values(), 0), dict.fromkeys(_NAMES.values(), 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Count a request ("success" or "fail"), or a stage of one job."""
        self._counts[name] += 1
        self._seconds[name] += seconds

    def add_batch(self, jobs: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Count one run of the engine; for each of its ``jobs`` the images and the seconds of each stage."""
        self.executions, self._last = self.executions + 1, time.time()
        for images, stages in jobs:
            self.images += images
            for stage, seconds in stages.items():
                self.add(stage, seconds)

    def to_json(self) -> dict[str, Any]:
        """Return Triton's document, in milliseconds since 1970 and nanoseconds."""
        return {
            "last_inference": round(1000 * self._last),
            "inference_count": self.images,
            "execution_count": self.executions,
            "inference_stats": {
                triton_name: {"count": self._counts[name], "ns": round(1e9 * self._seconds[name])}
                for triton_name, name in _NAMES.items()
            },
            "batch_stats": [],
        }
