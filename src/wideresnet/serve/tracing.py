"""OpenTelemetry traces: for each request a server span, with a child for each stage (extra ``tracing``).

Spans are made when a request has ended, from the times that were taken on its way. A thread of the SDK sends them, in
batches from a bounded queue; what it has to say about that goes to the log of the service.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from wideresnet import __version__
from wideresnet.serve.admission import RequestContext

MAX_STAGES = 64                                    # child spans of a request
QUIET_SECONDS = 60.0                               # between messages of the SDK that differ in values only
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}


class _Log(logging.Handler):
    """Passes what the SDK logs on to the log of the service, messages of one kind once in ``QUIET_SECONDS``."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._write = write
        self._kinds: dict[object, tuple[float, int]] = {}    # when the last one was written, and those since

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        written, left_out = self._kinds.get(record.msg, (-QUIET_SECONDS, 0))
        if now - written < QUIET_SECONDS:
            self._kinds[record.msg] = written, left_out + 1
            return
        self._kinds[record.msg] = now, 0
        self._write(f"tracing: {record.getMessage()}" + (f" ({left_out} more like it before)" if left_out else ""))


class Tracing:
    """The spans of a service, sent to an OTLP collector."""

    def __init__(self, endpoint: str, log: Callable[[str], None]) -> None:
        """``endpoint``: a base URL, to which /v1/traces is added. OTEL_… variables set sampling, headers and queue."""
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [_Log(log)], False
        facts = {"service.name": "wrn-serve", "service.version": __version__}
        resource = Resource.create({**facts, **OTELResourceDetector().detect().attributes})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("wideresnet", __version__)

    def record(self, scope: Scope, context: RequestContext, status: int) -> str:
        """Record the spans of a request that has ended, over HTTP or gRPC; return its trace id."""
        headers, now = Headers(raw=scope["headers"]), time.perf_counter()
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        attributes = {
            "error.type": context.error_kind if status >= 500 else "",
            "client.address": (scope.get("client") or ("",))[0],
            "user_agent.original": headers.get("user-agent", ""),
            "wrn.request.id": context.id,
            "wrn.error.kind": context.error_kind,
            "wrn.model": context.model,
            "wrn.pictures": context.images,
        }
        if scope["type"] == "grpc":
            name = context.route.lstrip("/")
            rpc_service, rpc_method = name.split("/")
            attributes |= {"rpc.system": "grpc", "rpc.service": rpc_service, "rpc.method": rpc_method}
        else:
            name = f"{method} {context.route}".rstrip()
            attributes |= {"http.request.method": method, "http.route": context.route, "url.path": scope["path"]}
            attributes |= {"http.response.status_code": status, "url.scheme": scope["scheme"]}
        epoch = time.time() - now
        span = self._tracer.start_span(
            name, TraceContextTextMapPropagator().extract(headers), SpanKind.SERVER,
            {key: value for key, value in attributes.items() if value},
            start_time=int(1e9 * (epoch + context.started)),
        )  # fmt: skip
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        parent = set_span_in_context(span)
        for stage, started, ended in context.stages[:MAX_STAGES]:
            child = self._tracer.start_span(stage, parent, start_time=int(1e9 * (epoch + started)))
            child.end(int(1e9 * (epoch + ended)))
        span.end(int(1e9 * (epoch + now)))
        return format_trace_id(span.get_span_context().trace_id)

    async def close(self, seconds: float) -> bool:
        """Send what is left, for at most ``seconds``; return whether that was enough."""
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, seconds)
        return not thread.is_alive()
