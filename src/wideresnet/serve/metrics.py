"""Metrics in Prometheus' text format."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, Summary, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wideresnet.serve.admission import AdmissionController, RequestContext
from wideresnet.serve.http.errors import ERROR_STATUS
from wideresnet.serve.worker import ModelWorker

if TYPE_CHECKING:
    from wideresnet.serve.shadow import Shadow

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: from an int8 CIFAR network to a large one behind a long queue.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
WINDOW = 1000                                      # images whose p-values are compared with the calibration's


class UncertaintyMetrics:
    """Metrics of calibrated models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._unknown = Counter("wrn_unknown", "Images called unknown.", ["model"], registry=registry)
        self._confidence = Summary("wrn_confidence", "Probabilities of the answers.", ["model"], registry=registry)
        help_text = "Kolmogorov-Smirnov distance of the latest p-values from uniform ones."
        self._distance = Gauge("wrn_p_value_distance", help_text, ["model"], registry=registry)
        self._images = Gauge("wrn_p_value_images", "Images of wrn_p_value_distance.", ["model"], registry=registry)
        self._windows: dict[str, deque[float]] = {}
        self._models: dict[str, ModelWorker] = {}

    def set_models(self, models: Mapping[str, ModelWorker]) -> None:
        """Begin the windows of p-values of newly opened models."""
        self._distance.clear()
        self._images.clear()
        filled = {name: self._windows[name] for name in models if models[name] is self._models.get(name)}
        self._models, self._windows = dict(models), {name: filled.get(name, deque(maxlen=WINDOW)) for name in models}
        for name, window in self._windows.items():
            self._unknown.labels(name)
            self._confidence.labels(name)
            self._distance.labels(name).set_function(partial(distance_from_uniform, window))
            self._images.labels(name).set_function(partial(len, window))

    def observe(self, model: ModelWorker, images: Iterable[tuple[float, float]]) -> None:
        """Record the p-value and the confidence of each image."""
        calibration, name = model.classifier.card.uncertainty, model.name
        # Not of a model that a reload has replaced meanwhile.
        window = self._windows[name] if self._models.get(name) is model else deque[float]()
        for p_value, confidence in images if calibration else ():
            self._unknown.labels(name).inc(calibration is not None and p_value < calibration.unknown.refused)
            self._confidence.labels(name).observe(confidence)
            window.append(p_value)


class ShadowMetrics(Collector):
    """Metrics of a shadow, from its report: counters that begin again are resets to Prometheus."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values."""
        report, bounds = self._shadow.report, ("low", "estimate", "high")
        answers = {"same": report.agreements, "different": report.n - report.agreements}
        right = {"both": (True, True), "first": (True, False), "shadow": (False, True), "neither": (False, False)}
        labelled = {name: report.right[key] for name, key in right.items()}
        agreement, difference = (
            dict(zip(bounds, values, strict=True)) for values in (report.agreement, report.difference)
        )
        rows: list[tuple[type[CounterMetricFamily | GaugeMetricFamily], str, str, str, Mapping[str, float]]] = [
            (CounterMetricFamily, "pictures", "Images answered by both models.", "answers", answers),
            (CounterMetricFamily, "labelled", "Images with a label, by the models that are right.", "right", labelled),
            (CounterMetricFamily, "dropped", "Images sampled and not compared.", "reason", report.dropped),
            (CounterMetricFamily, "decoded_again", "Images decoded twice.", "", {"": report.decoded_again}),
            (GaugeMetricFamily, "agreement", "Fraction of same answers, 95 % interval.", "bound", agreement),
            (GaugeMetricFamily, "difference", "Top-1 less the first model's, 95 % interval.", "bound", difference),
            (GaugeMetricFamily, "paused", "1 while no image is compared.", "", {"": bool(report.paused)}),
            (GaugeMetricFamily, "change", "Mean confidence less the first model's.", "", {"": report.mean_change}),
        ]
        for family, name, text, label, values in rows:
            metric = family(f"wrn_shadow_{name}", text, labels=["model", "shadow", *filter(None, [label])])
            for value, number in values.items():
                metric.add_metric([*report.models, *filter(None, [value])], number)
            yield metric


def distance_from_uniform(p_values: Collection[float]) -> float:
    """Return the largest difference between the fraction of p-values up to x and x; nan without any."""
    n = len(p_values)
    ordered = enumerate(sorted(p_values))
    return max((max((rank + 1) / n - p_value, p_value - rank / n) for rank, p_value in ordered), default=math.nan)


class CascadeMetrics(Collector):
    """Metrics of cascades, read from the statistics of the open ``models``."""

    def __init__(self) -> None:
        self.models: list[ModelWorker] = []
        self._reached: dict[str, list[int]] = {}   # by the model's name, whatever is reloaded

    def set_models(self, models: list[ModelWorker]) -> None:
        """Report the cascades among ``models``; those of an earlier name continue its counts."""
        self.models = models
        for model in models:
            if model.cascade:
                model.cascade.continue_counts(self._reached.setdefault(model.name, model.cascade.reached))

    def collect(self) -> Iterator[Metric]:
        """Yield the images of each cascade, and how many each of its members passed on; see ``Collector``."""
        images = CounterMetricFamily("wrn_cascade_images", "Images that a cascade answered.", labels=["model"])
        labels = ["model", "member"]
        passed_on = CounterMetricFamily("wrn_cascade_passed_on", "Images that a member passed on.", labels=labels)
        help_text = "Bounds of the fraction that reached the last member, seen at certification."
        certified = GaugeMetricFamily("wrn_cascade_certified_fraction", help_text, labels=["model", "bound"])
        unusual = GaugeMetricFamily("wrn_cascade_unusual", "1 if the share passed on has changed.", labels=["model"])
        for name, counts in ((model.name, model.cascade) for model in self.models if model.cascade):
            images.add_metric([name], counts.reached[0])
            for member, count in enumerate(counts.reached[1:]):
                passed_on.add_metric([name, str(member)], count)
            for bound, fraction in zip(("low", "high"), counts.certified95, strict=True):
                certified.add_metric([name, bound], fraction)
            unusual.add_metric([name], counts.is_unusual)
        return iter((images, passed_on, certified, unusual))


class Metrics:
    """The counters of one service."""

    def __init__(self, admission: AdmissionController) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ["route", "model", "status"]
        # The counters are cached by their labels: prometheus_client's own lookup costs more than counting.
        self._requests = cache(Counter("wrn_requests", "Requests answered.", labels, registry=registry).labels)
        help_text = "Seconds from the head of a request to its response."
        seconds = Histogram("wrn_request_seconds", help_text, ["route"], registry=registry, buckets=_BUCKETS)
        help_text, labels = "Seconds of one image (stage read: of one request).", ["stage", "model"]
        stages = Histogram("wrn_stage_seconds", help_text, labels, registry=registry, buckets=_BUCKETS)
        self._seconds, self._stages = cache(seconds.labels), cache(stages.labels)
        self._images = cache(Counter("wrn_pictures", "Images admitted.", ["model"], registry=registry).labels)
        self._failures = Counter("wrn_failures", "Failed requests, by kind of error.", ["kind"], registry=registry)
        self._reloads = Counter("wrn_reloads", "Reloads of the models.", ["result"], registry=registry)
        for counter, values in (self._failures, ERROR_STATUS), (self._reloads, ("done", "failed")):
            for value in values:                   # from 0 on: increase() of Prometheus misses a first value of 1
                counter.labels(value)
        help_text = "Models that could not be opened."
        self._load_failures = Counter("wrn_model_load_failures", help_text, ["model"], registry=registry)
        help_text = "1 if a model could not be opened as it is configured: an earlier one is served, or none."
        self._outdated = Gauge("wrn_model_outdated", help_text, ["model"], registry=registry)
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
        for name, (help_text, function) in gauges.items():
            Gauge(name, help_text, registry=registry).set_function(function)
        ProcessCollector(registry=registry)
        self._uncertainty: UncertaintyMetrics | None = None      # until a model is calibrated
        self._cascades = CascadeMetrics()
        registry.register(self._cascades)

    def add(self, collector: Collector) -> None:
        """Report the metrics of a collector, too."""
        self._registry.register(collector)

    def count_response(self, context: RequestContext, status: int) -> None:
        """Count one response and its images."""
        route = context.route or "other"
        self._requests(route, context.model, str(status)).inc()
        self._seconds(route).observe(context.seconds)
        if context.error_kind:
            self._failures.labels(context.error_kind).inc()
        if context.images:
            self._images(context.model).inc(context.images)

    def observe_stages(self, model: str, stages: Iterable[Mapping[str, float]]) -> None:
        """Record the seconds of each stage of each image."""
        for image_stages in stages:
            for stage, seconds in image_stages.items():
                self._stages(stage, model).observe(seconds)

    def observe_certainties(self, model: ModelWorker, images: Iterable[tuple[float, float]]) -> None:
        """Record the p-value and the confidence of each image of a calibrated model."""
        if self._uncertainty:
            self._uncertainty.observe(model, images)

    def count_reload(self, result: str) -> None:
        """Count a reload of the models: "done" or "failed"."""
        self._reloads.labels(result).inc()

    def count_load_failure(self, name: str) -> None:
        """Count that a model could not be opened."""
        self._load_failures.labels(name).inc()

    def set_problems(self, names: Iterable[str], problems: Collection[str]) -> None:
        """Set the gauge of every model in ``names``: 1 if it is among the ``problems``, not served as configured."""
        self._outdated.clear()
        for name in names:
            self._outdated.labels(name).set(name in problems)

    def set_models(self, models: Iterable[ModelWorker]) -> None:
        """Report ``models`` as the open ones."""
        self._info.clear()
        self._cascades.set_models(models := list(models))
        calibrated = {model.name: model for model in models if model.classifier.card.uncertainty}
        if calibrated or self._uncertainty:
            self._uncertainty = self._uncertainty or UncertaintyMetrics(self._registry)
            self._uncertainty.set_models(calibrated)
        for model in models:
            self._load_failures.labels(model.name)
            identity, engine = model.identity, model.identity["engine"]
            self._info.labels(
                model.name, identity["architecture"], identity["precision"], engine["runtime"], engine["precision"],
                identity["graph_sha256"],
            ).set(1)  # fmt: skip

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
