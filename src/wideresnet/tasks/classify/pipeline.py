"""The batch pipeline: read images ahead while the network works, or one batch after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.records import Batch, InferMode, Item

Answered = tuple[Batch, NDArray[np.float32]]


def infer(
    classifier: Classifier,
    items: Iterable[Item],
    load: Callable[[Iterable[Item]], Iterator[Batch]],
    batch_size: int,
    mode: InferMode = "async",
) -> Iterator[Answered]:
    """Yield each batch that ``load`` makes of ``items`` with its logits [N, C], in order; the same in both modes.

    "async": batches are read while the engine works. "sync": each batch is read, classified and yielded before the
    next one, so that no result waits for a later image; slower.
    """
    return classifier.stream(load(items)) if mode == "async" else _sequential(classifier, items, load, batch_size)


def _sequential(
    classifier: Classifier, items: Iterable[Item], load: Callable[[Iterable[Item]], Iterator[Batch]], batch_size: int
) -> Iterator[Answered]:
    remaining = iter(items)
    while group := list(islice(remaining, batch_size)):
        for batch in load(group):
            yield classifier.run(batch)
