"""Candidates of a benchmark: opened engines with the inputs that they run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.engines import Engine, open_engine
from wideresnet.errors import ConfigError, ImageError
from wideresnet.images.loader import load_crop
from wideresnet.images.noise import noise
from wideresnet.output.resumable_writer import open_resumable
from wideresnet.records import EngineInfo, Failure, InferenceSettings, Item
from wideresnet.tasks.bench.interleave import Work
from wideresnet.tasks.bench.options import Entry, options_of
from wideresnet.tasks.classify.classify import classify

BATCHES = 64                                       # different ones that a cascade runs on, at most


@dataclass(frozen=True)
class Candidate:
    """An entry that is open: ``work`` runs over ``inputs()`` of ``size`` images each."""

    entry: Entry
    info: EngineInfo
    work: Work
    inputs: Callable[[], Iterator[Any]]
    size: int


def open_candidate(entry: Entry, bundle: Bundle, items: Sequence[Item], out: Path) -> Candidate:
    """Open the engine with its inputs; end to end writes its answers to ``out``.

    Raises WrnError if the engine cannot run the model in this precision.
    """
    engine = open_engine(bundle, entry.engine, options_of(entry))
    classifier = Classifier(bundle.card, bundle.labels, engine)
    if entry.measurement == "end-to-end":
        return Candidate(entry, engine.info, _write_answers(classifier, entry, out), lambda: cycle(items), 1)
    if entry.files:
        encoded = [item.source.read_bytes() for item in items[:50] if isinstance(item.source, Path)]
        return Candidate(entry, engine.info, one_by_one(classifier.classify), lambda: cycle(encoded), 1)
    if len(bundle.card.specs) > 1:
        problem = f"{bundle.card.name} does not run on one batch of pixels: its members take different crops"
        raise ConfigError(problem, hint="measure --what end-to-end, or latency with --data")
    if bundle.card.cascade and not items:
        hint = "give a folder of images with --data"
        raise ConfigError(f"the speed of {bundle.card.name}, a cascade, depends on the images", hint)
    count = min(BATCHES, len(items) // entry.batch) if bundle.card.cascade else 1
    batches = [pixels(bundle, items[index * entry.batch :], entry.batch) for index in range(max(1, count))]
    work = one_by_one(engine) if entry.sync else streaming(engine)
    return Candidate(entry, engine.info, work, lambda: cycle(batches), entry.batch)


def pixels(bundle: Bundle, items: Sequence[Item], count: int) -> NDArray[np.uint8]:
    """Return a preprocessed batch of images, or of noise if there are none: uint8 [count, S, S, 3]."""
    spec = bundle.card.preprocess
    crops = [load_crop(item, spec) for item in items[:count]] or list(noise(spec.crop))
    return np.stack([crops[index % len(crops)] for index in range(count)])


def one_by_one(call: Callable[[Any], object]) -> Work:
    """Return work that calls ``call`` with one input after another."""

    def work(inputs: Iterator[Any], done: Callable[[], None]) -> None:
        for value in inputs:
            call(value)
            done()

    return work


def streaming(engine: Engine) -> Work:
    """Return work that streams batches through an engine."""

    def work(inputs: Iterator[NDArray[np.uint8]], done: Callable[[], None]) -> None:
        for _ in engine.stream(inputs):
            done()

    return work


def _write_answers(classifier: Classifier, entry: Entry, out: Path) -> Work:
    """Return work that does what ``wrn classify -o FILE`` does."""

    def work(items: Iterator[Item], done: Callable[[], None]) -> None:
        with open_resumable(out, "jsonl", {}) as writer:
            for answer in classify(classifier, items, InferenceSettings(batch_size=entry.batch, reduced=entry.reduced)):
                if isinstance(answer, Failure):
                    # A rejected image takes no time and would distort the speed.
                    raise ImageError(f"{answer.path}: {answer.error}", hint="use images that can be read")
                done()
                writer.add(answer)

    return work
