"""The state that all requests share: settings, models, admission, metrics and log."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from wideresnet.errors import OutputError, did_you_mean
from wideresnet.report.escape import json_text, printable
from wideresnet.report.formats import passed_on_text
from wideresnet.serve.admission import AdmissionController, Permit, RequestContext
from wideresnet.serve.explain import ExplanationWorker
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.jobs import ModelInput, Outcome, Postprocess
from wideresnet.serve.metrics import Metrics, ShadowMetrics
from wideresnet.serve.repository import ModelRepository, describe_error
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.shadow import Shadow, read_labels
from wideresnet.serve.tls import read_certificate
from wideresnet.serve.versions import group_versions, name_and_version, split_name
from wideresnet.serve.worker import ModelWorker

if TYPE_CHECKING:
    from wideresnet.serve.tracing import Tracing

Result = TypeVar("Result")

DISCONNECT = "wideresnet.disconnect"               # ASGI extension: a function that takes what a disconnect calls


class Service:
    """State shared by all requests; used on the event loop alone. Only ``load`` uses a thread."""

    def __init__(self, settings: ServeSettings, write: Callable[[str], object] = lambda _: None) -> None:
        self.settings, self._write = settings, write
        self.admission = AdmissionController(settings.capacity, settings.max_held_bytes)
        self.metrics = Metrics(self.admission)
        self.is_complete = settings.figures is None  # once all workers are open
        self.models: dict[str, ModelWorker] = {}     # by NAME, or NAME/VERSION of numbered ones; empty until open
        self.versions: dict[str, dict[str, ModelWorker]] = {}     # of each name, its default first; of ``models``
        self.explanations = ExplanationWorker(settings)
        self.repository = ModelRepository(settings, self.log_message, self.metrics, self.set_models)
        self.json_turn = asyncio.Lock()            # of large JSON bodies
        self.shadow = Shadow(settings, self.admission, self.log_message) if settings.shadow else None
        if self.shadow:
            self.metrics.add(ShadowMetrics(self.shadow))
        self.certificate = read_certificate(settings.tls_cert, settings.tls_key)
        self.tracing: Tracing | None = None          # set by the server process

    @property
    def ready(self) -> bool:
        """True if requests are admitted, apart from the limits."""
        return bool(self.models) and self.is_complete and not self.admission.draining

    def log_message(self, message: str) -> None:
        """Log a message as text, or as JSON where the settings say so."""
        if self.settings.log == "json":
            self.log_fields({"message": message})
        else:
            self._write_line(printable(message))

    def log_fields(self, fields: dict[str, object]) -> None:
        """Log one line of JSON, with the time."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._write_line(json_text({"time": now, **fields}))

    def _write_line(self, line: str) -> None:
        with suppress(OSError, OutputError):       # nobody reads the log any more
            self._write(line)

    async def load(self) -> None:
        """Open the models, or open them again; requests in progress keep the model they began with.

        Raises WrnError; the open models then stay.
        """
        await self.repository.load()

    def set_models(self, models: dict[str, ModelWorker]) -> None:
        """Serve ``models`` by their names from now on, of each name the first version where a request asks for none.

        Raises WrnError where the first ones do not fit --shadow.
        """
        versions = group_versions(models)
        if self.shadow:
            self.shadow.set_models(models, versions)
        self.models, self.versions = models, versions
        self.metrics.set_models(models.values())

    @property
    def default(self) -> str | None:
        """The model of requests that name none: the first of the settings, or the only one of a folder."""
        if not self.settings.models and len(self.versions) != 1:
            return None
        return self.repository.default or next(iter(self.versions), None)

    async def reload(self) -> None:
        """Read the certificate and open the models again; if one fails, log that and keep the open ones."""
        try:
            if self.certificate:
                self.log_message(self.certificate.read())
            await self.load()
        except Exception as error:                 # whatever a runtime raises
            self.metrics.count_reload("failed")
            self.log_message(f"reload failed, the open models stay: {describe_error(error)}")
        else:
            self.metrics.count_reload("done")

    def count_response(self, context: RequestContext, status: int) -> None:
        """Count a response in the metrics and in its model's statistics."""
        self.metrics.count_response(context, status)
        if context.statistics and context.route.endswith(("/classify", "/infer", "/ModelInfer")):
            context.statistics.add("success" if status == 200 else "fail", context.seconds)

    def find_model(self, name: str | None, context: RequestContext, version: str | None = None) -> ModelWorker:
        """Return the model of NAME or NAME/VERSION, or the default for None. Raises ApiError where there is none."""
        if not self.models and not self.repository.loaded:
            raise ApiError("loading", "the models are still loading", "GET /v2/health/ready reports when they are open")
        if (name := self.default if name is None else name) is None:
            raise ApiError("model", "there is no default model", "name one: GET /v1/models lists them")
        name, slash, number = name.partition("/")
        if name not in self.versions and (reason := self.repository.reason(name)):
            raise ApiError("model", f"{name} is not served: {reason}", "POST /v2/repository/index lists all models")
        if name not in self.versions:
            hint = did_you_mean(name, self.versions) or "GET /v1/models lists them"
            raise ApiError("model", f"no model called {name[:80]!r}", hint)
        versions = self.versions[name]
        if slash and version and version != number:
            raise ApiError("model", f"the name says version {number[:20]!r}, the request {version[:20]!r}", "name one")
        version = number if slash else version or next(iter(versions))
        if version not in versions:
            message = f"{name} has no version {version[:20]!r}"
            raise ApiError("model", message, f"ask for one of {', '.join(versions)}")
        context.model, context.statistics = versions[version].name, versions[version].statistics
        return versions[version]

    def statistics_document(self, name: str | None, version: str | None, context: RequestContext) -> dict[str, Any]:
        """Return the statistics of a version, of all of a model, or of all models. Raises ApiError."""
        if self.settings.figures:
            raise ApiError("route", "these are statistics of one process of several", "GET /metrics has the sums")
        selected = list(self.models.values())
        if name is not None:
            model = self.find_model(name, context, version)
            selected = [model] if version else list(self.versions[split_name(name)[0]].values())
        return {"model_stats": [name_and_version(model.name) | model.statistics.to_json() for model in selected]}

    async def infer(
        self, model: ModelWorker, inputs: Sequence[ModelInput], postprocess: Postprocess[Result],
        request: Request | None, permit: Permit, seconds: float = math.inf,
    ) -> list[Outcome[Result]]:  # fmt: skip
        """Run the model on all inputs and return their outcomes in order.

        Raises ApiError when they do not all fit into the queue, for labels without effect, and as ``wait_for``.
        """
        count = sum(1 if isinstance(item, bytes) else len(item) for item in inputs)
        permit.context.labels = read_labels(permit.context.label_header, self.shadow, model, count)
        self.metrics.observe_stages(model.name, [{"read": permit.context.seconds}])
        permit.context.stages.append(("read", permit.context.started, time.perf_counter()))
        self.admission.check_images(count)
        futures = [model.submit(item, permit, postprocess) for item in inputs]
        return await self.wait_for(futures, model, request, seconds)

    def late_error(self) -> ApiError:
        """Return the error of a request that is not answered within ``deadline``."""
        message = f"no result within {self.settings.deadline:g} seconds"
        return ApiError("deadline", message, "send fewer images, or retry later")

    async def wait_for(
        self, futures: Sequence[asyncio.Future[Outcome[Result]]], model: ModelWorker, request: Request | None,
        seconds: float = math.inf,
    ) -> list[Outcome[Result]]:  # fmt: skip
        """Wait for submitted work, at most ``seconds``, and return its outcomes in order.

        Raises ApiError at the deadline, and when the client disconnects; without a ``request`` the transport cancels
        this task then. The handler ends, which cancels its context: work not yet begun is skipped.
        """
        seconds, ends = min(seconds, self.settings.deadline), list[str]()

        def end(kind: str) -> None:
            ends.append(kind)
            for future in futures:
                future.cancel()

        timer = asyncio.get_running_loop().call_later(seconds, end, "deadline")
        unwatch = watch_disconnect(request, partial(end, "gone"))
        try:
            outcomes = [await future for future in futures]
        except asyncio.CancelledError:
            if not ends:                           # this task itself is cancelled
                raise
            if ends[0] == "gone":
                raise ApiError("gone", "the client disconnected before its response") from None
            raise self.late_error() from None
        finally:
            timer.cancel()
            unwatch()
        self.metrics.observe_stages(model.name, (outcome.seconds for outcome in outcomes))
        self.metrics.observe_certainties(model, (pair for outcome in outcomes for pair in outcome.certainties))
        if (passed := model.cascade) and passed.is_unusual and not passed.is_reported:
            passed.is_reported = True
            self.log_message(f"{model.name}: {passed_on_text(passed.checked)}")
        return outcomes


def watch_disconnect(request: Request | None, call: Callable[[], None]) -> Callable[[], object]:
    """Call ``call`` if the client of ``request`` disconnects; return a function that ends this."""
    if request and (watch := request.scope.get("extensions", {}).get(DISCONNECT)):
        watch(call)
        return partial(watch, None)
    return asyncio.ensure_future(_wait_for_disconnect(request, call)).cancel if request else lambda: None


async def _wait_for_disconnect(request: Request, call: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    call()
