"""Opening the models of the settings, and checking that they work."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, with_alpha
from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.engines import EngineOptions
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import ConfigError
from wideresnet.logits import check_logits
from wideresnet.machine import available_cpus
from wideresnet.prediction_sets import precision_notes
from wideresnet.report.formats import model_text
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.worker import ModelWorker
from wideresnet.tasks.load.load import ModelChoice, assumptions, load_bundle, open_classifier

ADAPTIVE_BYTES = 2**25                             # of a graph that is compiled twice at most
_URL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_models(settings: ServeSettings, log: Callable[[str], None]) -> dict[str, ModelWorker]:
    """Open every model of the settings, run each once, and return them by name. Raises WrnError."""
    decode_slots = threading.BoundedSemaphore(settings.threads or available_cpus())
    models: dict[str, ModelWorker] = {}
    for choice in settings.models:
        started = time.perf_counter()
        alias, _, model = choice.rpartition("=")
        classifier, batch = _open_model(model, settings, log)
        name = alias or classifier.card.name
        if not _URL_NAME.fullmatch(name):
            raise ConfigError(f"not a valid name in a URL: {name!r}", hint=f"choose another: -m NAME={model}")
        if name in models:
            raise ConfigError(f"two models have the name {name}", hint=f"name one differently: -m NAME={model}")
        models[name] = ModelWorker(name, classifier, decode_slots, settings.limits, model, batch)
        card = classifier.card
        text = model_text(name, card.classes, card.preprocess.crop, classifier.engine.info)
        log(f"opened {text}, in {time.perf_counter() - started:.1f} s")
        for note in precision_notes(card, classifier.engine.info.precision):
            log(note)
        if classifier.card.assumed:
            log(assumptions(name, classifier.card.assumed))
    return models


def _open_model(model: str, settings: ServeSettings, log: Callable[[str], object]) -> tuple[Classifier, int]:
    """Open a model; return it with its best batch size for throughput."""

    @cache                                         # once, though called for each block
    def announce() -> None:
        log(f"downloading {model}")

    bundle = load_bundle(ModelChoice(model, facts=settings.facts), lambda _done, _total: announce())
    bundle = with_alpha(bundle, settings.alpha)
    # The card of a bundle that was built in memory has no hash yet.
    bundle = replace(bundle, card=replace(bundle.card, files=bundle.card.files | {GRAPH: bundle.sha256}))
    options, batch = throughput_options(bundle, settings.precision, settings.threads)
    if settings.streams is not None:
        options = replace(options, streams=settings.streams)
    elif not options.streams:
        options = _adaptive_options(bundle, options)
    classifier = open_classifier(bundle, settings.engine, options)
    check_model(classifier)                        # engines also finish their compilation at the first image
    return classifier, batch


def _adaptive_options(bundle: Bundle, options: EngineOptions) -> EngineOptions:
    """Return the options that are fast for one client and for many: see ``engines.adaptive``.

    One stream is as fast as several where an image is much work, and only small graphs cost little memory twice.
    """
    largest = max(len(member.graph) for member in bundle.members or (bundle,))
    return replace(options, hint="adaptive") if largest <= ADAPTIVE_BYTES else replace(options, streams=1)


def check_model(classifier: Classifier) -> None:
    """Infer one black image, with each member of a cascade.

    Raises the engine's errors, and EngineError for logits that are not finite.
    """
    if isinstance(engine := classifier.engine, CascadeEngine):
        for number, member in enumerate(engine.cascade.members):
            engine.ask(number, _black(member.preprocess.crop))
        return
    check_logits(classifier.logits(_black(classifier.card.preprocess.crop)))


def _black(side: int) -> NDArray[np.uint8]:
    return np.zeros((1, side, side, 3), np.uint8)
