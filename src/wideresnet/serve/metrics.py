"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from wideresnet.serve.admission import AdmissionController, Visit
from wideresnet.serve.worker import ModelWorker

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from an int8 CIFAR network to a large one behind a long queue.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One set of counters, for one service."""

    def __init__(self, house: AdmissionController) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "wrn_requests", "Requests answered.", ["route", "model", "status"], registry=registry
        )
        self._seconds = Histogram(
            "wrn_request_seconds", "From the head of a request to its answer.", ["route"],
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._stages = Histogram(
            "wrn_stage_seconds", "Of one image (read: of one request).", ["stage", "model"],
            registry=registry, buckets=_BUCKETS,
        )  # fmt: skip
        self._images = Counter("wrn_pictures", "Images let in.", ["model"], registry=registry)
        self._failures = Counter("wrn_failures", "Requests not served, by kind.", ["kind"], registry=registry)
        self._reloads = Counter("wrn_reloads", "Reloads of the models.", ["result"], registry=registry)
        self._info = Gauge(
            "wrn_model_info", "The models that are open.",
            ["model", "architecture", "stored", "engine", "executed", "graph_sha256"], registry=registry,
        )  # fmt: skip
        gauges = {
            "wrn_queue_depth": ("Images inside, waiting and worked on.", lambda: house.images),
            "wrn_queue_capacity": ("Images that fit inside.", lambda: house.capacity),
            "wrn_requests_in_flight": ("Requests inside.", lambda: house.requests),
            "wrn_body_bytes": ("Bytes of bodies inside.", lambda: house.bytes),
            "wrn_draining": ("1 while the service is about to end.", lambda: house.draining),
        }
        for name, (words, value) in gauges.items():
            Gauge(name, words, registry=registry).set_function(value)
        ProcessCollector(registry=registry)

    def answered(self, visit: Visit, route: str, status: int, seconds: float) -> None:
        """One request is over."""
        self._requests.labels(route, visit.model, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if visit.kind:
            self._failures.labels(visit.kind).inc()
        if visit.images:
            self._images.labels(visit.model).inc(visit.images)

    def staged(self, model: str, stages: Iterable[Mapping[str, float]]) -> None:
        """The seconds of each stage, of each image."""
        for seconds in stages:
            for stage, value in seconds.items():
                self._stages.labels(stage, model).observe(value)

    def reloaded(self, result: str) -> None:
        """The models were opened anew: "done" or "failed"."""
        self._reloads.labels(result).inc()

    def opened(self, models: Iterable[ModelWorker]) -> None:
        """These are the models now."""
        self._info.clear()
        for model in models:
            who, engine = model.identity, model.identity["engine"]
            self._info.labels(
                model.name, who["architecture"], who["precision"], engine["runtime"], engine["precision"],
                who["graph_sha256"],
            ).set(1)  # fmt: skip

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
