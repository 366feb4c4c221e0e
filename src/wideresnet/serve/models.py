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
from wideresnet.classifier import Classifier
from wideresnet.engines import EngineOptions
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import ConfigError
from wideresnet.logits import check_logits
from wideresnet.machine import available_cpus
from wideresnet.prediction_sets import alpha_notes, precision_notes
from wideresnet.report.formats import model_text
from wideresnet.serve.settings import ServeSettings
from wideresnet.serve.versions import split_alias
from wideresnet.serve.worker import ModelWorker
from wideresnet.tasks.load.load import ModelChoice, assumptions, load_bundle, open_classifier

ADAPTIVE_BYTES = 2**25                             # of a graph that is compiled twice at most
URL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def open_models(
    settings: ServeSettings, log: Callable[[str], None], decode_slots: threading.Semaphore | None = None
) -> dict[str, ModelWorker]:
    """Open every model of ``settings.models`` and return them by name. Raises WrnError."""
    models: dict[str, ModelWorker] = {}
    decode_slots = decode_slots or make_decode_slots(settings)
    for choice in settings.models:
        alias, source = split_alias(choice)
        model = open_model(alias, source, settings, log, decode_slots)
        if not URL_NAME.fullmatch(model.name):
            raise ConfigError(f"not a valid name in a URL: {model.name!r}", hint=f"choose another: -m NAME={source}")
        if model.name in models:
            raise ConfigError(f"two models have the name {model.name}", hint=f"name one differently: -m NAME={source}")
        models[model.name] = model
    return models


def make_decode_slots(settings: ServeSettings) -> threading.Semaphore:
    """Return the semaphore of all threads that decode images: one a CPU."""
    return threading.BoundedSemaphore(settings.threads or available_cpus())


def open_model(
    name: str, source: str, settings: ServeSettings, log: Callable[[str], None], decode_slots: threading.Semaphore
) -> ModelWorker:
    """Open a model, run it once, and log that; ``name`` "" is that of its card. Raises WrnError.

    ``decode_slots`` are shared by all models of a process.
    """
    started = time.perf_counter()
    classifier, batch = _open_classifier(source, settings, log)
    card, info = classifier.card, classifier.engine.info
    name = name or card.name
    text = model_text(name, card.classes, card.preprocess.crop, info)
    log(f"opened {text}, in {time.perf_counter() - started:.1f} s")
    for note in precision_notes(card, info):
        log(note)
    if card.assumed:
        log(assumptions(name, card.assumed))
    return ModelWorker(name, classifier, decode_slots, settings.limits, source, batch)


def _open_classifier(model: str, settings: ServeSettings, log: Callable[[str], object]) -> tuple[Classifier, int]:
    """Open a model; return it with its best batch size for throughput."""

    @cache                                         # once, though called for each block
    def announce() -> None:
        log(f"downloading {model}")

    bundle = load_bundle(ModelChoice(model, facts=settings.facts), lambda _done, _total: announce())
    for note in alpha_notes(bundle.card, settings.alpha):
        log(note)
    bundle = with_alpha(bundle, settings.alpha)
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
            engine.run_member(number, _black(member.preprocess.crop))
        return
    check_logits(classifier.logits(_black(classifier.card.preprocess.crop)))


def _black(side: int) -> NDArray[np.uint8]:
    return np.zeros((1, side, side, 3), np.uint8)
