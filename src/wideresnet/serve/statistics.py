"""Counts and times of one open model, in the form of Triton's statistics extension."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wideresnet.records import Cascade, PassedOn

# Triton's name -> name here. "" is always 0: the output is not timed separately, and there is no cache.
_NAMES = {
    "success": "success", "fail": "fail", "queue": "wait", "compute_input": "decode", "compute_infer": "infer",
    "compute_output": "", "cache_hit": "", "cache_miss": "",
}  # fmt: skip
WINDOW = 1000                                      # images of a cascade whose share passed on is checked at once
# Standard errors: of the checks of images like those of the certification fewer than one in 10,000 alarms.
ALARM = 4.0


class CascadeStatistics:
    """Counts of the images that reached each member of a cascade. Changed on the event loop only, so without a lock."""

    def __init__(self, cascade: Cascade) -> None:
        self.certified95 = cascade.point.passed_on95
        self._members = len(cascade.members)
        self.reached = [0] * self._members         # images, by member
        self.checked = self._latest = PassedOn(self.certified95)   # ``checked``: the last complete window
        self.is_reported = False                   # that ``is_unusual``

    def add(self, members: Sequence[int]) -> None:
        """Count images by the ``members`` that answered them."""
        for answered in members:
            for number in range(answered + 1):
                self.reached[number] += 1
        last = members.count(self._members - 1)
        self._latest += PassedOn(self.certified95, last, len(members))
        if self._latest.n >= WINDOW:
            self.checked, self._latest = self._latest, PassedOn(self.certified95)

    def continue_counts(self, reached: list[int]) -> None:
        """Count on in ``reached``, of an earlier cascade of this name that may still answer: no counter decreases."""
        reached.extend([0] * (self._members - len(reached)))
        self.reached = reached

    @property
    def is_unusual(self) -> bool:
        """True if the share passed on in the last window of images is not that of the certification."""
        return self.checked.differs(ALARM)


class InferenceStatistics:
    """Counts of one model since it was opened; but for ``count_run`` only changed on the event loop, hence no lock."""

    def __init__(self) -> None:
        self.images = self.executions = 0          # images inferred, runs of the engine
        self._last, self._lock = 0.0, threading.Lock()         # end of the latest run, seconds since 1970
        self._counts, self._seconds = dict.fromkeys(_NAMES.values(), 0), dict.fromkeys(_NAMES.values(), 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Count a request ("success" or "fail"), or a stage of one job."""
        self._counts[name] += 1
        self._seconds[name] += seconds

    def count_run(self) -> None:
        """Count one run of the engine, of a cascade of one of its members, in any thread."""
        with self._lock:
            self.executions, self._last = self.executions + 1, time.time()

    def add_jobs(self, jobs: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Count answered ``jobs``: of each the images and the seconds of each stage."""
        for images, stages in jobs:
            self.images += images
            for stage, seconds in stages.items():
                self.add(stage, seconds)

    def to_json(self) -> dict[str, Any]:
        """Return Triton's document, in milliseconds since 1970 and nanoseconds."""
        return {
            "last_inference": round(1000 * self._last), "inference_count": self.images,
            "execution_count": self.executions, "batch_stats": [],
            "inference_stats": {
                triton_name: {"count": self._counts[name], "ns": round(1e9 * self._seconds[name])}
                for triton_name, name in _NAMES.items()
            },
        }  # fmt: skip
