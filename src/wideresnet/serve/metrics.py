"""Metrics in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from wideresnet.serve.admission import AdmissionController, RequestContext
from wideresnet.serve.worker import ModelWorker

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from an int8 CIFAR network to a large one behind a long queue.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters of one service."""

    def __init__(self, admission: AdmissionController) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("wrn_requests", "Requests answered.", ["route", "model", "status"], registry=registry)
        self._seconds = Histogram(
            "wrn_request_seconds", "Seconds from the head of a request to its response.", ["route"],
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._stages = Histogram(
            "wrn_stage_seconds", "Seconds of one image (stage read: of one request).", ["stage", "model"],
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._images = Counter("wrn_pictures", "Images admitted.", ["model"], registry=registry)
        self._failures = Counter("wrn_failures", "Failed requests, by kind of error.", ["kind"], registry=registry)
        self._reloads = Counter("wrn_reloads", "Reloads of the models.", ["result"], registry=registry)
        self._info = Gauge(
            "wrn_model_info", "Open models.",
            ["model", "architecture", "stored", "engine", "executed", "graph_sha256"], registry=registry,
        )  # fmt: skip
        gauges = {
            "wrn_queue_depth": ("Images in the queue or in work.", lambda: admission.images),
            "wrn_queue_capacity": ("Limit of wrn_queue_depth.", lambda: admission.capacity),
            "wrn_requests_in_flight": ("Requests in progress.", lambda: admission.requests),
            "wrn_body_bytes": ("Bytes of the bodies of requests in progress.", lambda: admission.bytes),
            "wrn_draining": ("1 while the server is shutting down.", lambda: admission.draining),
        }
        for name, (help_text, value) in gauges.items():
            Gauge(name, help_text, registry=registry).set_function(value)
        ProcessCollector(registry=registry)

    def count_response(self, context: RequestContext, status: int) -> None:
        """Count one response and its images."""
        route = context.route or "other"
        self._requests.labels(route, context.model, str(status)).inc()
        self._seconds.labels(route).observe(context.seconds)
        if context.error_kind:
            self._failures.labels(context.error_kind).inc()
        if context.images:
            self._images.labels(context.model).inc(context.images)

    def observe_stages(self, model: str, stages: Iterable[Mapping[str, float]]) -> None:
        """Record the seconds of each stage of each image."""
        for image_stages in stages:
            for stage, seconds in image_stages.items():
                self._stages.labels(stage, model).observe(seconds)

    def count_reload(self, result: str) -> None:
        """Count a reload of the models: "done" or "failed"."""
        self._reloads.labels(result).inc()

    def set_models(self, models: Iterable[ModelWorker]) -> None:
        """Report ``models`` as the open ones."""
        self._info.clear()
        for model in models:
            identity, engine = model.identity, model.identity["engine"]
            self._info.labels(
                model.name, identity["architecture"], identity["precision"], engine["runtime"], engine["precision"],
                identity["graph_sha256"],
            ).set(1)  # fmt: skip

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
