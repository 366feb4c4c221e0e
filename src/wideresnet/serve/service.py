"""The service as one value: settings, models, the house and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from wideresnet.errors import OutputError, WrnError, did_you_mean
from wideresnet.report.escape import json_text, printable
from wideresnet.serve.admission import AdmissionController, Visit
from wideresnet.serve.explain import Explainers
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.metrics import Metrics
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker, Outcome, Source, open_models

Answer = TypeVar("Answer")


class Service:
    """What every request shares. Only ``load`` leaves the event loop, for a thread."""

    def __init__(self, settings: ServeSettings, write: Callable[[str], object] = lambda _: None) -> None:
        self.settings, self._write = settings, write
        self.house = AdmissionController(settings.capacity, settings.held_bytes)
        self.metrics = Metrics(self.house)
        self.models: dict[str, ModelWorker] = {}     # the first is the default; empty while they are opened
        self.explainers = Explainers(settings)
        self._loading = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether a request would be let in, if there is room."""
        return bool(self.models) and not self.house.draining

    def say(self, words: str) -> None:
        """A line of the log for people, or for machines where the log is theirs."""
        self.log({"message": words}) if self.settings.log == "json" else self._line(printable(words))

    def log(self, fields: dict[str, object]) -> None:
        """A line of the log as JSON, with the time."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._line(json_text({"time": time, **fields}))

    def _line(self, line: str) -> None:
        with suppress(OSError, OutputError):       # nobody reads it any more
            self._write(line)

    async def load(self) -> None:
        """Open the models, or open them anew: requests that are inside keep the one they began with.

        Raises WrnError, and keeps what was open.
        """
        async with self._loading:
            self.use(await asyncio.to_thread(open_models, self.settings, self.say))

    def use(self, models: dict[str, ModelWorker]) -> None:
        """From here on these are the models."""
        self.models = models
        self.metrics.opened(models.values())

    async def reload(self) -> None:
        """``load``, for who does not wait for it; a model that cannot be opened is said and changes nothing."""
        try:
            await self.load()
        except WrnError as error:
            self.metrics.reloaded("failed")
            self.say(f"the models stay as they were: {error.message} ({error.hint})")
        else:
            self.metrics.reloaded("done")

    def answered(self, visit: Visit, status: int) -> None:
        """Count a request that has ended, in the metrics and in its model's statistics."""
        self.metrics.answered(visit, visit.route or "other", status, visit.seconds)
        if visit.model in self.models and visit.route.endswith(("/classify", "/infer")):
            self.models[visit.model].statistics.add("success" if status == 200 else "fail", visit.seconds)

    def model(self, name: str | None, visit: Visit) -> ModelWorker:
        """The model of that name, or the default. Raises ApiError where there is none."""
        if not self.models:
            raise ApiError("loading", "the models are being opened", "GET /v2/health/ready says when they are")
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            hint = did_you_mean(name, self.models) or "GET /v1/models lists them"
            raise ApiError("model", f"no model called {name[:80]!r} is served here", hint)
        visit.model = name
        return self.models[name]

    async def work(
        self,
        model: ModelWorker,
        sources: Sequence[Source],
        then: Callable[[NDArray[np.float32]], Answer],
        request: Request,
        visit: Visit,
    ) -> list[Outcome[Answer]]:
        """What became of each source, in their order.

        Raises ApiError when they do not all fit inside, and as ``outcomes``.
        """
        self.metrics.staged(model.name, [{"read": visit.seconds}])
        visit.refuse_when_full(sum(1 if isinstance(source, bytes) else len(source) for source in sources))
        futures = [model.submit(source, visit, then) for source in sources]
        return await self.outcomes(futures, model, request)

    async def outcomes(
        self, futures: Sequence[asyncio.Future[Outcome[Answer]]], model: ModelWorker, request: Request
    ) -> list[Outcome[Answer]]:
        """What became of work that was begun for a request.

        Raises ApiError at the deadline, and when the client leaves before it has its answer; what is not begun by
        then is skipped, since the visit says that it is gone.
        """
        seconds = self.settings.deadline
        left = asyncio.ensure_future(_disconnected(request))
        left.add_done_callback(lambda _: [future.cancel() for future in futures])
        try:
            async with asyncio.timeout(seconds):
                outcomes = [await future for future in futures]
        except TimeoutError:
            words = f"no answer within {seconds:g} seconds"
            raise ApiError("deadline", words, "send fewer images, or come later") from None
        except asyncio.CancelledError:
            if not left.done():                    # it is this task that shall end
                raise
            raise ApiError("gone", "the client left before its answer was there") from None
        finally:
            left.cancel()
        self.metrics.staged(model.name, (outcome.seconds for outcome in outcomes))
        return outcomes


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
