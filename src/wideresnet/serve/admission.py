"""Admission control: limits on concurrent requests, images and bytes.

Everything here runs on the event loop, so nothing needs a lock. A handler holds one ``Permit``; each of its images is
acquired before a thread works on it and released when that work has ended, whether or not a client still waits.
"""

from __future__ import annotations

import time

from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.statistics import InferenceStatistics

_RETRY = "retry after 1 s"


class RequestContext:
    """One request, from its head to its response: its id, what it asked for, and what metrics and log report."""

    def __init__(self, id: str, error_kind: str = "") -> None:
        self.id = id
        self.route = self.model = ""
        self.statistics: InferenceStatistics | None = None     # of the model, which a reload may replace meanwhile
        self.error_kind = error_kind               # a key of ``ERROR_STATUS``, or "" for success
        self.cancelled = False                     # the handler has ended: threads skip work not yet begun
        self.bytes_read = self.images = 0
        self.label_header: str | None = None       # X-Label, or its metadata
        self.labels: list[int] = []                # of its images, for a shadow
        self.stages: list[tuple[str, float, float]] = []       # begin and end of each, as time.perf_counter()
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the request's head was received."""
        return time.perf_counter() - self.started


class AdmissionController:
    """Counts concurrent requests, the bytes of their bodies, and their images, waiting or in work."""

    def __init__(self, images: int, held_bytes: int) -> None:
        self.capacity, self.capacity_bytes = images, held_bytes
        self.requests = self.images = self.bytes = 0
        self.slow = self.slow_bytes = 0            # of ``images`` those that were set aside
        self.admitted = 0                          # requests since the start
        self.draining = False

    def admit(self, context: RequestContext) -> Permit:
        """Return a permit for a request. Raises ApiError when the server is shutting down or the queue is full."""
        self.check_draining()
        self.check_images(1)
        return Permit(self, context)

    def check_draining(self) -> None:
        """Raise ApiError when the server is shutting down."""
        if self.draining:
            raise ApiError("draining", "the server is shutting down", "retry on another instance")

    def check_images(self, count: int) -> None:
        """Raise ApiError unless ``count`` more images fit into the queue."""
        if (queued := self.images - self.slow) + count > self.capacity:
            needed = f", {count} more do not fit" if count > 1 else ""
            raise ApiError("full", f"the queue is full ({queued} of {self.capacity} images{needed})", _RETRY)


class Permit:
    """A request's share of the limits; a context manager around its handler.

    Its bytes are returned when the handler has ended *and* no thread works on its images any more, so the limits
    also cover requests that were cancelled.
    """

    def __init__(self, controller: AdmissionController, context: RequestContext) -> None:
        self.context = context
        self._controller, self._entered, self._images, self._bytes = controller, False, 0, 0

    def __enter__(self) -> Permit:
        self._controller.requests += 1
        self._controller.admitted += 1
        self._entered = True
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.cancelled = True
        self._controller.requests -= 1
        self._entered = False
        self._return_bytes()

    def add_bytes(self, count: int) -> None:
        """Count ``count`` more bytes of the body. Raises ApiError when all bodies together exceed the limit."""
        if self._controller.bytes + count > self._controller.capacity_bytes:
            raise ApiError("full", "the limit on bytes of concurrent requests is reached", _RETRY)
        self._controller.bytes += count
        self._bytes += count
        self.context.bytes_read += count

    def acquire(self, images: int) -> None:
        """Put ``images`` more images into the queue. Raises ApiError when they do not fit."""
        self._controller.check_images(images)
        self._controller.images += images
        self._images += images
        self.context.images += images

    def set_aside(self, size: int) -> None:
        """Move an image of ``size`` bytes that is slow to decode to a queue of its own, with half of the bytes.

        Raises ApiError when it does not fit.
        """
        controller = self._controller
        if controller.slow >= controller.capacity or controller.slow_bytes + size > controller.capacity_bytes / 2:
            raise ApiError("full", f"the queue of slow images is full ({controller.slow} images)", _RETRY)
        controller.slow += 1
        controller.slow_bytes += size

    def release(self, images: int, slow_bytes: int = 0) -> None:
        """Take ``images`` images, whose work has ended, out of the queue; ``slow_bytes``: of one that was set aside."""
        self._controller.images -= images
        self._controller.slow -= slow_bytes > 0
        self._controller.slow_bytes -= slow_bytes
        self._images -= images
        self._return_bytes()

    def _return_bytes(self) -> None:
        if not self._entered and not self._images:
            self._controller.bytes -= self._bytes
            self._bytes = 0
