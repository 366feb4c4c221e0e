"""How much may be inside at once. All of it lives on the event loop, so that nothing here needs a lock."""

from __future__ import annotations

import time

from wideresnet.serve.http.errors import ApiError


class AdmissionController:
    """Counts what is inside: requests, their bytes, and images that wait or are worked on."""

    def __init__(self, images: int, held_bytes: int) -> None:
        self.capacity, self.capacity_bytes = images, held_bytes
        self.requests = self.images = self.bytes = 0
        self.draining = False

    def refuse_when_full(self, images: int = 1) -> None:
        """Raises ApiError unless so many images more fit inside."""
        if self.images + images > self.capacity:
            raise ApiError(
                "full", f"{self.images} images are inside and {self.capacity} fit", "come again in a second"
            )


class Visit:
    """One request on its way through: what it holds, and what is told of it afterwards.

    Its bytes are given back when its handler has left *and* no thread works on its images any more, so that the
    limits hold also for requests that were given up.
    """

    def __init__(self, house: AdmissionController, id: str) -> None:
        self.id, self.began = id, time.perf_counter()
        self.gone = False                          # nobody waits for the answer: threads skip what is left
        self.route = self.model = self.kind = ""   # for metrics and log: kind says what went wrong
        self.bytes_read = self.images = 0
        self._house, self._inside, self._seated, self._held = house, False, 0, 0

    @property
    def seconds(self) -> float:
        """Since it came."""
        return time.perf_counter() - self.began

    def enter(self) -> None:
        """Before the body is read. Raises ApiError when the service is full or about to end."""
        if self._house.draining:
            raise ApiError("draining", "the service is about to end", "ask another instance")
        self._house.refuse_when_full()
        self._house.requests += 1
        self._inside = True

    def carry(self, count: int) -> None:
        """So many bytes more were read. Raises ApiError when all bodies together are too large."""
        if self._house.bytes + count > self._house.capacity_bytes:
            raise ApiError("full", "too many bytes of other requests are inside", "come again in a second")
        self._house.bytes += count
        self._held += count
        self.bytes_read += count

    def refuse_when_full(self, images: int) -> None:
        """Raises ApiError unless so many images more fit inside."""
        self._house.refuse_when_full(images)

    def seat(self, images: int) -> None:
        """So many images begin to wait."""
        self._house.images += images
        self.images += images
        self._seated += images

    def unseat(self, images: int) -> None:
        """So many are done with."""
        self._house.images -= images
        self._seated -= images
        self._settle()

    def leave(self) -> None:
        """The handler is done, well or not."""
        self.gone = True
        if self._inside:
            self._inside = False
            self._house.requests -= 1
        self._settle()

    def _settle(self) -> None:
        if not self._inside and not self._seated:
            self._house.bytes -= self._held
            self._held = 0
