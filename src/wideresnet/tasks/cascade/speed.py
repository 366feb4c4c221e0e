"""Measurement of a cascade's speed beside that of its last member, in alternating turns on the same crops."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines.cascade import WAITING, CascadeEngine, Crops
from wideresnet.engines.throughput import tune_settings
from wideresnet.images.loader import load_batches
from wideresnet.machine import cpu_name
from wideresnet.records import CascadeSpeed, InferenceSettings, Item, Progress
from wideresnet.tasks.load.load import open_classifier

SAMPLE = 1024                                      # images of a turn, at most
ROUNDS, FEWEST_ROUNDS = 9, 3                       # a turn of both each; the first of them however long they take
SECONDS = 30.0                                     # after which no further round begins


def measure_speed(
    bundle: Bundle, data: LabelledData, items: Sequence[Item], members: NDArray[np.int64], settings: InferenceSettings
) -> Generator[Progress, None, CascadeSpeed]:
    """Measure a cascade and its last member alone, both with the precision, threads and batches of that member.

    ``items`` can be read; ``members`` [N] answer them. The images of a turn are chosen such that members answer the
    same fractions of them.
    """
    last, specs = bundle.members[-1], bundle.card.specs
    options, tuned = tune_settings(last, replace(settings, precision=last.card.arithmetic(settings.precision)))
    engine = open_classifier(bundle, tuned.engine, options).engine
    assert isinstance(engine, CascadeEngine)
    count = min(len(items), SAMPLE, WAITING // sum(3 * spec.crop**2 for spec in specs))
    rows = np.sort(np.argsort(members, kind="stable")[np.linspace(0, len(items) - 1, count).astype(int)])
    sample, size = [items[row] for row in rows], tuned.batch_size
    loaded = load_batches(sample, specs, batch_size=size, exif=data.exif)
    # Crops that are made when they are read would be made in every turn.
    stacks = [
        [batch.pixels, *(np.stack([crops[row] for row in range(len(batch.items))]) for crops in batch.member_crops)]
        for batch in loaded
    ]
    batches: list[Crops] = [(first, *later) for first, *later in stacks]
    crops = [stack[engine.crop_of[-1]] for stack in stacks]
    rates, began = (list[float](), list[float]()), time.perf_counter()
    for number in range(ROUNDS + 1):               # the first round warms up
        if number > FEWEST_ROUNDS and time.perf_counter() - began > SECONDS:
            break
        yield Progress("measuring the speed", number, ROUNDS + 1)
        for which in (number % 2, 1 - number % 2):
            answers: Iterator[object] = engine.answers(batches) if which else engine.members[-1].stream(crops)
            started = time.perf_counter()
            deque(answers, maxlen=0)
            rates[which].append(count / (time.perf_counter() - started))
    accurate, cascade = (tuple(turns[1:]) for turns in rates)
    return CascadeSpeed(accurate, cascade, count, size, engine.info.threads, engine.info.streams, cpu_name())
