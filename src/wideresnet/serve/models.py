"""Open models, and the threads that work for each."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.data.labels import Language, translated
from wideresnet.errors import ConfigError
from wideresnet.images.decode import Limits
from wideresnet.images.loader import read_crop
from wideresnet.images.top_k import refuse_infinite
from wideresnet.machine import available_cpus
from wideresnet.records import Labels
from wideresnet.serve.house import Visit
from wideresnet.serve.problems import Refused
from wideresnet.serve.settings import ServeSettings
from wideresnet.tasks.load import ModelChoice, load_bundle, open_classifier
from wideresnet.tasks.tuning import for_many

Source = bytes | NDArray[np.uint8]                 # an encoded picture, or a batch as the network takes it
Answer = TypeVar("Answer")

STAGES = ("decode", "wait", "infer")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, eq=False)
class Outcome(Generic[Answer]):
    """What became of one source: an answer, or the error; and the seconds of each of ``STAGES``."""

    answer: Answer | None
    error: Exception | None
    seconds: dict[str, float]


class OpenModel:
    """One model and its threads: decode, wait for the engine's turn, infer.

    As many pictures are decoded at a time as there are CPUs (``hands``, shared by all models), and as many are with
    the engine as keep its streams busy, each in a batch of its own. Nothing closes an open model: once it was
    replaced and the last request let go of it, its threads end by themselves.
    """

    def __init__(
        self, name: str, classifier: Classifier, hands: threading.Semaphore, limits: Limits, source: str = ""
    ) -> None:
        self.name, self.classifier, self.source = name, classifier, source     # ``source``: for ``served_bundle``
        self._hands, self._limits = hands, limits
        turns = 2 * classifier.engine.info.streams
        self._turns = threading.BoundedSemaphore(turns)
        self._pool = ThreadPoolExecutor(turns + available_cpus(), thread_name_prefix=name)
        self.identity = identity(name, classifier)
        self._labels = _translations(classifier)

    def labels(self, language: str) -> Labels:
        """The names of the classes in a language. Raises Refused where there are none."""
        if language not in self._labels:
            raise Refused(
                "parameters", f"{self.name} has no labels in {language[:20]!r}", f"it has {', '.join(self._labels)}"
            )
        return self._labels[language]

    @property
    def languages(self) -> list[str]:
        """What ``labels`` takes."""
        return list(self._labels)

    def submit(
        self, source: Source, visit: Visit, then: Callable[[NDArray[np.float32]], Answer]
    ) -> asyncio.Future[Outcome[Answer]]:
        """``then`` of the logits [N, C] of ``source``, made in a thread; the future never raises.

        The pictures have their seats until the work has ended, whoever still waits for it.
        """
        count, loop = 1 if isinstance(source, bytes) else len(source), asyncio.get_running_loop()
        visit.seat(count)
        try:
            future = loop.run_in_executor(self._pool, self._work, source, visit, then, time.perf_counter())
        except RuntimeError:                       # no thread more can be started
            visit.unseat(count)
            raise
        future.add_done_callback(lambda _: visit.unseat(count))
        return future

    def _work(
        self, source: Source, visit: Visit, then: Callable[[NDArray[np.float32]], Answer], asked: float
    ) -> Outcome[Answer]:
        seconds = dict.fromkeys(STAGES, 0.0)
        try:
            with self._hands:
                begun = time.perf_counter()
                batch = None if visit.gone else self._read(source)
            decoded = time.perf_counter()
            seconds.update(wait=begun - asked, decode=decoded - begun)
            if batch is None:
                return Outcome(None, TimeoutError(), seconds)
            with self._turns:
                entered = time.perf_counter()
                if visit.gone:
                    return Outcome(None, TimeoutError(), seconds)
                logits = self.classifier.logits(batch)
            seconds["wait"] += entered - decoded
            seconds["infer"] = time.perf_counter() - entered
            refuse_infinite(logits)
            return Outcome(then(logits), None, seconds)
        except BaseException as error:             # whatever it is, it is the end of one picture only
            return Outcome(None, error if isinstance(error, Exception) else RuntimeError(repr(error)), seconds)

    def _read(self, source: Source) -> NDArray[np.uint8]:
        if not isinstance(source, bytes):
            return source
        return read_crop(source, self.classifier.card.preprocess, exif="transpose", limits=self._limits)[None]


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
    }


def _translations(classifier: Classifier) -> dict[str, Labels]:
    found = {}
    for language in get_args(Language):
        with suppress(ConfigError):                # a user's own labels have no translation
            found[language] = translated(classifier.labels, language, classifier.card.labels_name)
    return found


def open_models(settings: ServeSettings, say: Callable[[str], None]) -> dict[str, OpenModel]:
    """Every model of the settings under its name, opened and run once. Raises WrnError."""
    hands = threading.BoundedSemaphore(available_cpus())
    limits = Limits(settings.max_pixels, settings.max_bytes)
    models: dict[str, OpenModel] = {}
    for choice in settings.models:
        began = time.perf_counter()
        alias, _, model = choice.rpartition("=")
        classifier = _open(model, settings)
        name = alias or classifier.card.name
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} cannot be a name in a URL", hint=f"give it another: -m NAME={model}")
        if name in models:
            raise ConfigError(f"two models are called {name}", hint=f"give one another name: -m NAME={model}")
        models[name] = OpenModel(name, classifier, hands, limits, model)
        say(f"{name} is open after {time.perf_counter() - began:.1f} s")
    return models


def served_bundle(source: str) -> Bundle:
    """The bundle that ``source`` names; its card has the hash of its graph. Raises WrnError."""
    bundle = load_bundle(ModelChoice(source))
    if GRAPH in bundle.card.files:
        return bundle
    files = {GRAPH: hashlib.sha256(bundle.graph).hexdigest()}      # made in memory just now
    return replace(bundle, card=replace(bundle.card, files=files))


def _open(model: str, settings: ServeSettings) -> Classifier:
    bundle = served_bundle(model)
    options, _ = for_many(bundle, settings.precision, settings.threads)
    if settings.streams:
        options = replace(options, streams=settings.streams)
    classifier = open_classifier(bundle, settings.engine, options)
    side = classifier.card.preprocess.crop
    classifier.logits(np.zeros((1, side, side, 3), np.uint8))      # what is left to be made, before a client waits
    return classifier
