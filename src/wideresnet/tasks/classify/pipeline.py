"""Images through a network: with the next ones being read meanwhile, or one batch after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.records import Batch, Item

InferMode = Literal["sync", "async"]
Answered = tuple[Batch, NDArray[np.float32]]


def infer(
    classifier: Classifier,
    items: Iterable[Item],
    load: Callable[[Iterable[Item]], Iterator[Batch]],
    batch_size: int,
    mode: InferMode = "async",
) -> Iterator[Answered]:
    """Each batch that ``load`` makes of ``items`` with its logits, in order; the same ones in both modes.

    "async": batches are read while the engine works. "sync": one is read, answered and handed out before the next is
    begun, so that an answer never waits for a later image; slower.
    """
    return classifier.stream(load(items)) if mode == "async" else _in_turn(classifier, items, load, batch_size)


def _in_turn(
    classifier: Classifier, items: Iterable[Item], load: Callable[[Iterable[Item]], Iterator[Batch]], batch_size: int
) -> Iterator[Answered]:
    left = iter(items)
    while group := list(islice(left, batch_size)):
        for batch in load(group):
            yield batch, classifier.logits(batch.pixels)
