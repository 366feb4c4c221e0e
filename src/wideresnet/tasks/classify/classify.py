"""Images to answers, as a stream: memory for a few batches, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier
from wideresnet.images.loader import load_batches
from wideresnet.prediction_sets import check_coverage
from wideresnet.records import DEFAULT_INFERENCE, Batch, Failure, InferenceSettings, Item, Prediction


def classify(
    classifier: Classifier, items: Iterable[Item], settings: InferenceSettings = DEFAULT_INFERENCE, *, k: int = 5
) -> Iterator[Prediction | Failure]:
    """Yield the ``k`` likeliest classes or a failure of each item, in the order of the items.

    Raises ConfigError if the settings ask for prediction sets that the model does not have.
    """
    check_coverage(classifier.card, settings.coverage)
    for batch, logits in infer(classifier, items, settings):
        yield from batch.in_order(classifier.answer(batch, logits, k, settings.coverage))


def infer(
    classifier: Classifier, items: Iterable[Item], settings: InferenceSettings
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Yield the items in batches with their logits [N, C], in order; the same in both modes of the settings.

    "async": batches are read while the engine works. "sync": each batch is read, classified and yielded before the
    next one, so that no result waits for a later image; slower.
    """
    load = partial(
        load_batches, spec=classifier.card.specs, batch_size=settings.batch_size,
        threads=classifier.engine.info.threads, exif=settings.exif, reduced=settings.reduced,
    )  # fmt: skip
    if settings.mode == "async":
        yield from classifier.stream(load(items))
        return
    remaining = iter(items)
    while group := list(islice(remaining, settings.batch_size)):
        for batch in load(group):
            yield classifier.run(batch)
