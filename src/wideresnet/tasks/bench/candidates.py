"""Contestants: how each is opened, and what it runs over."""

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
from wideresnet.engines import ENGINES, Engine, open_engine
from wideresnet.errors import ImageError
from wideresnet.images.loader import load_crop
from wideresnet.images.noise import noise
from wideresnet.output.resumable_writer import open_resumable
from wideresnet.records import EngineInfo, Failure, Item
from wideresnet.tasks.bench.baselines import open_baseline, plain_script, stock_loop
from wideresnet.tasks.bench.interleave import Work
from wideresnet.tasks.bench.options import PLAIN_SCRIPT, STOCK, Entry, options_of
from wideresnet.tasks.classify.classify import classify


@dataclass(frozen=True)
class Contestant:
    """An entry that is open and warm: ``work`` runs over ``inputs`` of ``size`` images each."""

    entry: Entry
    info: EngineInfo
    work: Work
    inputs: Callable[[], Iterator[Any]]
    size: int


def open_contestant(entry: Entry, bundle: Bundle, items: Sequence[Item], out: Path) -> Contestant:
    """Open the engine and set it before its inputs; answers of files are written to ``out``.

    Raises WrnError when this engine cannot run this model in this precision.
    """
    if entry.engine == PLAIN_SCRIPT:
        info, work = plain_script(bundle, entry.batch, entry.threads, out)
        return Contestant(entry, info, work, lambda: cycle(items), 1)
    if entry.engine == STOCK:
        info, work = stock_loop(bundle, options_of(entry))
        return Contestant(entry, info, work, lambda: cycle([pixels(bundle, items, 1)]), 1)
    options = options_of(entry)
    if entry.engine in ENGINES:
        engine = open_engine(bundle, entry.engine, options)
    else:
        engine = open_baseline(bundle, entry.engine, options)
    classifier = Classifier(bundle.card, bundle.labels, engine)
    if entry.what == "end-to-end":
        return Contestant(entry, engine.info, _to_file(classifier, entry, out), lambda: cycle(items), 1)
    if entry.files:
        encoded = [item.source.read_bytes() for item in items[:50] if isinstance(item.source, Path)]
        return Contestant(entry, engine.info, _each(classifier.classify), lambda: cycle(encoded), 1)
    batch = pixels(bundle, items, entry.batch)
    work = _each(engine) if entry.sync else _stream(engine)
    return Contestant(entry, engine.info, work, lambda: cycle([batch]), entry.batch)


def pixels(bundle: Bundle, items: Sequence[Item], count: int) -> NDArray[np.uint8]:
    """A batch as the network sees it, of images where there are some, else of noise: uint8 [count, S, S, 3]."""
    spec = bundle.card.preprocess
    crops = [load_crop(item, spec) for item in items[:count]] or list(noise(spec.crop))
    return np.stack([crops[index % len(crops)] for index in range(count)])


def _each(call: Callable[[Any], object]) -> Work:
    def work(inputs: Iterator[Any], done: Callable[[], None]) -> None:
        for each in inputs:
            call(each)
            done()

    return work


def _stream(engine: Engine) -> Work:
    def work(inputs: Iterator[NDArray[np.uint8]], done: Callable[[], None]) -> None:
        for _ in engine.stream(inputs):
            done()

    return work


def _to_file(classifier: Classifier, entry: Entry, out: Path) -> Work:
    """What ``wrn classify -o FILE`` does."""

    def work(items: Iterator[Item], done: Callable[[], None]) -> None:
        with open_resumable(out, "jsonl", {}) as writer:
            for answer in classify(classifier, items, batch_size=entry.batch, reduced=entry.reduced):
                if isinstance(answer, Failure):
                    # A refused image costs next to nothing: its speed would be no speed.
                    raise ImageError(f"{answer.path}: {answer.error}", hint="measure with images that can be read")
                done()
                writer.add(answer)

    return work
