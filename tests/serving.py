"""Test doubles for the service: an engine with a gate, images with known classes, a model over any engine, clients."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakes import FakeEngine
from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.engines import Engine
from wideresnet.images.decode import Limits
from wideresnet.serve.app import make_app
from wideresnet.serve.service import Service
from wideresnet.serve.worker import ModelWorker

NAME = "wrn_10_1.tiny"


class GatedEngine:
    """A FakeEngine that waits until its gate is open; ``begun`` counts the calls."""

    def __init__(self) -> None:
        self._engine, self.info = FakeEngine(), FakeEngine().info
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.begun.release()
        assert self.gate.wait(20)
        return self._engine(batch)

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        return map(self, batches)


class PickyEngine(GatedEngine):
    """Fails for a batch with an image of class 7."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = super().__call__(batch)
        if 7 in logits.argmax(axis=1):
            raise MemoryError
        return logits


def open_model(bundle: Bundle, engine: Engine, name: str = NAME) -> ModelWorker:
    classifier = Classifier(bundle.card, bundle.labels, engine)
    return ModelWorker(name, classifier, threading.BoundedSemaphore(2), Limits(2**20, 2**20))


def png(label: int) -> bytes:
    """Return an encoded image that FakeEngine classifies as ``label``."""
    file = io.BytesIO()
    Image.fromarray(FakeEngine().image(label)).save(file, "PNG")
    return file.getvalue()


def run(service: Service, story: Callable[[httpx2.AsyncClient], Awaitable[None]]) -> None:
    """Run ``story`` with a client of ``service`` on one event loop, and check that all limits are returned."""

    async def main() -> None:
        transport = httpx2.ASGITransport(make_app(service))
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await story(client)
            await until(lambda: not service.admission.images)
        assert (service.admission.requests, service.admission.bytes) == (0, 0)

    asyncio.run(main())


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)
