"""A shadow: a second model is asked about a sample of the images that a first one answers, in idle moments.

What it costs others is bounded. A sampled image waits until no request has been in the service for ``IDLE_SECONDS``;
then it alone runs, on one stream of the second model. So a request meets at most one such image, already in work. At
most ``WAITING`` images wait, encoded ones of at most ``MAX_ENCODED`` bytes each; further ones are dropped and counted.
The first model's crop is used where both cut the same pixels; otherwise the image is decoded again, in a process of
lower priority. A shutdown does not wait for images that wait here.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.errors import ConfigError, WrnError, did_you_mean
from wideresnet.images.isolated import decode_in_process
from wideresnet.logits import check_logits, softmax
from wideresnet.records import Batch, Labels, Preprocess
from wideresnet.records.shadow import ComparedImage, ShadowReport
from wideresnet.serve.admission import AdmissionController, RequestContext
from wideresnet.serve.explain import find_classes
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.jobs import ModelInput
from wideresnet.serve.settings import MiB, ServeSettings
from wideresnet.serve.versions import split_name
from wideresnet.serve.worker import ModelWorker
from wideresnet.tasks.evaluate.comparison import check_same_classes

IDLE_SECONDS = 0.05                                # without any request, before an image is passed to the shadow
WAITING, MAX_ENCODED = 64, MiB
LABEL_HEADER = "X-Label"                           # the right classes of a request's images, separated by commas


class Shadow:
    """Two models, the sample, and the report of its comparison; used on the event loop alone."""

    def __init__(self, settings: ServeSettings, admission: AdmissionController, log: Callable[[str], None]) -> None:
        first, _, second = settings.shadow.partition("=")
        self.report = ShadowReport((first, second))
        self.labels: Labels | None = None          # of the report; None before the models are open
        self._settings, self._admission, self._log = settings, admission, log
        self._waiting: deque[tuple[ShadowReport, Callable[[], ComparedImage]]] = deque()
        self._start = self.report                  # the report without any image, of the open models
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._task: asyncio.Task[None] | None = None
        self._first: ModelWorker | None = None     # A; None while the comparison pauses

    def set_models(self, models: Mapping[str, ModelWorker], versions: Mapping[str, Mapping[str, ModelWorker]]) -> None:
        """Compare the two of ``models`` from now on; ``versions``: of each name, the newest first.

        Where a graph is another one than before, all counts begin again. If one is not served, or their classes differ,
        raises ConfigError or DataError at first. Later the comparison pauses, with a line in the log.
        """
        before, self._first = self._first, None
        if before:
            before.observer = None
        try:
            self._open({name: next(iter(group.values())) for name, group in versions.items()} | dict(models))
        except WrnError as error:
            if not self.report.since:
                raise
            if before:
                self._log(f"shadow: paused: {error.message}")
            self.report = replace(self.report, paused=error.message)
            return
        if self.report.paused:
            self._log("shadow: goes on")
            self.report = replace(self.report, paused="")

    def observes(self, model: ModelWorker) -> bool:
        """Return True if images that ``model`` answers are compared at present."""
        return model is self._first

    def _open(self, served: Mapping[str, ModelWorker]) -> None:
        for name in self.report.models:
            if name not in served:
                hint = did_you_mean(name, served) or f"the models are {', '.join(served)}"
                if versions := [version for version in served if version.startswith(f"{split_name(name)[0]}/")]:
                    hint = f"raise --versions, or name one that is served: {', '.join(versions)}"
                raise ConfigError(f"--shadow names {name!r}, which is not served", hint)
        first, second = (served[name] for name in self.report.models)
        check_same_classes(first.classifier, second.classifier)
        graphs = _hash_of(first), _hash_of(second)
        if graphs != self.report.graphs:
            if self.report.since:
                self._log(f"shadow: a graph has changed, the counts of {self.report.n:,} images begin again")
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self.report = self._start = ShadowReport(self.report.models, graphs, since)
        self._first, self.labels = first, first.classifier.labels
        first.observer = partial(self._observe, (self._start, first.classifier.card.preprocess, second.classifier))

    def _observe(
        self, opened: tuple[ShadowReport, Preprocess, Classifier], item: ModelInput, pixels: NDArray[np.uint8],
        logits: NDArray[np.float32], context: RequestContext, first: int,
    ) -> None:  # fmt: skip
        """Take the sample from a job that A answered; ``opened``: the report's start, A's preprocessing, and B."""
        start, spec, shadow = opened
        encoded = len(shadow.card.specs) > 1 or not spec.same_crop(shadow.card.preprocess)
        for index in range(len(logits)):
            if random.random() >= self._settings.shadow_fraction:
                continue
            if encoded and not isinstance(item, bytes):
                self._drop("tensor")
            elif encoded and len(item) > MAX_ENCODED:
                self._drop("large")
            elif len(self._waiting) >= WAITING:
                self._drop("full")
            else:
                image = item if encoded else pixels[index : index + 1].copy()    # a view would hold the request
                row, label = logits[index : index + 1].copy(), context.labels[first + index] if context.labels else None
                self._waiting.append((start, partial(self._compare, shadow, image, row, context.id, label)))
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.ensure_future(self._run())

    def _drop(self, reason: str) -> None:
        self.report = self.report.with_dropped(reason)

    async def _run(self) -> None:
        """Compare the waiting images one by one, in idle moments."""
        admission, loop = self._admission, asyncio.get_running_loop()
        while self._waiting and not admission.draining:
            admitted = admission.admitted
            await asyncio.sleep(IDLE_SECONDS)
            if admission.requests or admission.images or admission.admitted != admitted or admission.draining:
                continue
            start, compare = self._waiting.popleft()
            try:
                image = await loop.run_in_executor(self._thread, compare)
            except (Exception, SystemExit) as error:       # which would end the service
                if not self.report.dropped["failed"]:
                    self._log(f"shadow: {self.report.models[1]} failed: {error!r}")
                self._drop("failed")
                continue
            is_current, report = start is self._start, self.report
            self.report = report.with_image(image) if is_current else report.with_dropped("reload")

    def _compare(
        self, shadow: Classifier, image: ModelInput, logits: NDArray[np.float32], request: str, label: int | None
    ) -> ComparedImage:
        """Ask B about one image, encoded or the crop [1, S, S, 3], in a thread; ``logits`` [1, C] are A's."""
        if decoded := isinstance(image, bytes):
            crops, _ = decode_in_process(image, shadow.card.specs, "transpose", False, self._settings.limits)
            batch = Batch(crops[0][None], (), member_crops=tuple(crop[None] for crop in crops[1:]))
        else:
            batch = Batch(image, ())
        _, answer = shadow.run(batch)
        check_logits(answer)
        a, b = (softmax(values)[0] for values in (logits, answer))
        answers, sure = (int(a.argmax()), int(b.argmax())), (float(a.max()), float(b.max()))
        return ComparedImage(request, answers, sure, float(np.abs(a - b).sum() / 2), label, decoded)


def _hash_of(model: ModelWorker) -> str:
    """Return the hash of a model's graph, or of a cascade's members, rule and thresholds."""
    return str(model.identity["weights_sha256" if model.cascade else "graph_sha256"])


def read_labels(header: str | None, shadow: Shadow | None, model: ModelWorker, images: int) -> list[int]:
    """Return the labels of a request's images, or none without the header.

    Raises ApiError for a model without a shadow, an unknown class, and another number of labels than ``images``.
    """
    if header is None:
        return []
    if shadow is None or not shadow.observes(model):
        state = f"the comparison pauses: {shadow.report.paused}" if shadow and shadow.report.paused else ""
        message = f"{LABEL_HEADER} would have no effect: {state or f'{model.name} has no shadow'}"
        raise ApiError("parameters", message, "send the request without it")
    labels = find_classes(header.split(","), model.classifier.labels)
    if len(labels) != images:
        message = f"{LABEL_HEADER} has {len(labels)} labels for {images} images"
        raise ApiError("parameters", message, "send the index or the id of each image's class: #281,#207")
    return labels
