"""Open models, and the threads that work for each."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, with_alpha
from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.datasets.labels import Language, translated
from wideresnet.engines.throughput import BATCH, throughput_options
from wideresnet.errors import ConfigError
from wideresnet.images.decode import Limits
from wideresnet.images.loader import load_crop
from wideresnet.logits import refuse_infinite
from wideresnet.machine import available_cpus
from wideresnet.records import Labels
from wideresnet.serve.admission import Visit
from wideresnet.serve.http.errors import ApiError
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.statistics import Statistics
from wideresnet.tasks.load.load import ModelChoice, assumptions, load_bundle, open_classifier

Source = bytes | NDArray[np.uint8]                 # an encoded image, or a batch as the network takes it
Answer = TypeVar("Answer")

STAGES = ("decode", "wait", "infer")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Answer]):
    """What became of one source: an answer, or the error; and the seconds of each of ``STAGES``."""

    answer: Answer | None
    error: Exception | None
    seconds: dict[str, float]


@dataclass(eq=False)
class _Job(Generic[Answer]):
    """One source on its way through the threads; it has a seat for each of its ``pictures``."""

    source: Source
    images: int
    visit: Visit
    then: Callable[[NDArray[np.float32]], Answer]
    future: asyncio.Future[Outcome[Answer]]
    since: float                                   # when its present stage began
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    outcome: Outcome[Answer] | None = None

    def finish(self, stage: str, now: float) -> None:
        """Its time since the stage before belongs to ``stage``."""
        self.seconds[stage] += now - self.since
        self.since = now

    def answer(self, logits: NDArray[np.float32]) -> None:
        """Its logits [N, C] are there."""
        try:
            refuse_infinite(logits)
            self.outcome = Outcome(self.then(logits), None, self.seconds)
        except BaseException as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Whatever ``error`` is, it is the end of this job only."""
        known = error if isinstance(error, Exception) else RuntimeError(repr(error))
        self.outcome = Outcome(None, known, self.seconds)


_Decoded = tuple[_Job[Any], NDArray[np.uint8]]     # with its images, RGB uint8 [N, S, S, 3]


class ModelWorker:
    """One model and its threads: decode, wait for the engine's turn, infer.

    As many images are decoded at a time as there are CPUs (``hands``, shared by all models), and as many batches are
    with the engine as keep its streams busy. Nobody waits for a batch to fill: each turn takes its share of what is
    decoded by then, one image while the engine keeps up and ``batch`` at most, since many at once cost less each.
    Nothing closes an open model: once it was replaced and the last request let go of it, its threads end by themselves.
    """

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        hands: threading.Semaphore,
        limits: Limits,
        source: str = "",
        batch: int = BATCH,
    ) -> None:
        self.name, self.classifier, self.source = name, classifier, source     # ``source``: for ``served_bundle``
        self._hands, self._limits, self._batch = hands, limits, batch
        self._turns = 2 * classifier.engine.info.streams
        self._decoders = ThreadPoolExecutor(classifier.engine.info.threads, thread_name_prefix=f"{name} decode")
        self._inferrers = ThreadPoolExecutor(self._turns, thread_name_prefix=f"{name} infer")
        self._decoded: deque[_Decoded] = deque()
        self.identity, self.statistics = identity(name, classifier), Statistics()
        self._labels = _translations(classifier)

    def labels(self, language: str) -> Labels:
        """The names of the classes in a language. Raises ApiError where there are none."""
        if language not in self._labels:
            words = f"{self.name} has no labels in {language[:20]!r}"
            raise ApiError("parameters", words, " or ".join(f"?lang={each}" for each in self._labels))
        return self._labels[language]

    @property
    def languages(self) -> list[str]:
        """What ``labels`` takes."""
        return list(self._labels)

    def submit(
        self, source: Source, visit: Visit, then: Callable[[NDArray[np.float32]], Answer]
    ) -> asyncio.Future[Outcome[Answer]]:
        """``then`` of the logits [N, C] of ``source``, made in a thread; the future never raises.

        The images have their seats until the work has ended, whoever still waits for it: the future may be cancelled.
        """
        count, loop = 1 if isinstance(source, bytes) else len(source), asyncio.get_running_loop()
        job = _Job(source, count, visit, then, loop.create_future(), time.perf_counter())
        visit.seat(count)
        try:
            self._decoders.submit(self._decode, job)
        except RuntimeError:                       # no thread more can be started
            visit.unseat(count)
            raise
        return job.future

    def _decode(self, job: _Job[Any]) -> None:
        try:
            with self._hands:
                job.finish("wait", time.perf_counter())
                if job.visit.gone:
                    raise TimeoutError
                pixels = self._read(job.source)
            job.finish("decode", time.perf_counter())
            self._decoded.append((job, pixels))
            self._inferrers.submit(self._infer)
        except BaseException as error:
            job.fail(error)
            self._hand_over([job])

    def _infer(self) -> None:
        """Answer a share of what is decoded; of that nothing may be left."""
        if share := self._share():
            self._run(share)

    def _share(self) -> list[_Decoded]:
        share: list[_Decoded] = []
        room = max(1, min(self._batch, len(self._decoded) // self._turns))
        with suppress(IndexError):                 # the other turns take, too
            while room > 0:
                job, pixels = self._decoded.popleft()
                if job.visit.gone:
                    job.fail(TimeoutError())
                    self._hand_over([job])
                    continue
                share.append((job, pixels))
                room -= len(pixels)
        return share

    def _run(self, share: list[_Decoded]) -> None:
        """Answer all of them at once; where that fails one after the other, so that an error is only whose it is."""
        entered = time.perf_counter()
        for job, _ in share:
            job.finish("wait", entered)
        try:
            logits = self.classifier.logits(np.concatenate([pixels for _, pixels in share]))
        except BaseException as error:
            if len(share) > 1:
                for each in share:
                    self._run([each])
                return
            share[0][0].fail(error)
        else:
            inferred, end = time.perf_counter(), 0
            for job, pixels in share:
                start, end = end, end + len(pixels)
                job.finish("infer", inferred)
                job.answer(logits[start:end])
        self._hand_over([job for job, _ in share])

    def _read(self, source: Source) -> NDArray[np.uint8]:
        if not isinstance(source, bytes):
            return source
        return load_crop(source, self.classifier.card.preprocess, exif="transpose", limits=self._limits)[None]

    def _hand_over(self, jobs: list[_Job[Any]]) -> None:
        """Give the outcomes to who waits for them; the event loop is woken once for all."""
        for loop, group in groupby(jobs, lambda job: job.future.get_loop()):
            with suppress(RuntimeError):           # the loop has ended, and with it who waited
                loop.call_soon_threadsafe(self._settle, list(group))

    def _settle(self, jobs: list[_Job[Any]]) -> None:
        if answered := [(job.images, job.seconds) for job in jobs if job.outcome and not job.outcome.error]:
            self.statistics.executed(answered)
        for job in jobs:
            job.visit.unseat(job.images)
            if job.outcome is not None and not job.future.done():
                job.future.set_result(job.outcome)


def identity(name: str, classifier: Classifier) -> dict[str, Any]:
    """Who answers, as it stands in every answer."""
    card, info = classifier.card, classifier.engine.info
    return {
        "name": name,
        "architecture": card.architecture,
        "precision": card.precision,
        "engine": asdict(info),
        "graph_sha256": card.files.get(GRAPH, ""),
        "weights_sha256": card.weights_sha256,
        "assumed": list(card.assumed),
    }


def _translations(classifier: Classifier) -> dict[str, Labels]:
    found = {}
    for language in get_args(Language):
        with suppress(ConfigError):                # a user's own labels have no translation
            found[language] = translated(classifier.labels, language, classifier.card.labels_name)
    return found


def open_models(settings: ServeSettings, say: Callable[[str], None]) -> dict[str, ModelWorker]:
    """Every model of the settings under its name, opened and run once. Raises WrnError."""
    hands = threading.BoundedSemaphore(settings.threads or available_cpus())
    limits = Limits(settings.max_pixels, settings.max_bytes)
    models: dict[str, ModelWorker] = {}
    for choice in settings.models:
        began = time.perf_counter()
        alias, _, model = choice.rpartition("=")
        classifier, batch = _open(model, settings)
        name = alias or classifier.card.name
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot be a name in a URL", hint=f"give it another: -m NAME={model}")
        if name in models:
            raise ConfigError(f"two models are called {name}", hint=f"give one another name: -m NAME={model}")
        models[name] = ModelWorker(name, classifier, hands, limits, model, batch)
        say(f"{name} is open after {time.perf_counter() - began:.1f} s")
        if classifier.card.assumed:
            say(assumptions(name, classifier.card.assumed))
    return models


def served_bundle(source: str) -> Bundle:
    """The bundle that ``source`` names; its card has the hash of its graph. Raises WrnError."""
    bundle = load_bundle(ModelChoice(source))
    if GRAPH in bundle.card.files:
        return bundle
    files = {GRAPH: bundle.sha256}              # made in memory just now
    return replace(bundle, card=replace(bundle.card, files=files))


def _open(model: str, settings: ServeSettings) -> tuple[Classifier, int]:
    """The model, and how many images at once are best for many."""
    bundle = with_alpha(served_bundle(model), settings.alpha)
    options, batch = throughput_options(bundle, settings.precision, settings.threads)
    if settings.streams:
        options = replace(options, streams=settings.streams)
    classifier = open_classifier(bundle, settings.engine, options)
    prove(classifier)                              # also makes what is left to be made, before a client waits
    return classifier, batch


def prove(classifier: Classifier) -> None:
    """One black image through the engine. Raises what the engine raises, and for an answer that is no number."""
    side = classifier.card.preprocess.crop
    refuse_infinite(classifier.logits(np.zeros((1, side, side, 3), np.uint8)))
