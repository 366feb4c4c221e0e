"""Images to answers, as a stream: memory for a few batches, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from wideresnet.classifier import Classifier
from wideresnet.images.loader import load_batches
from wideresnet.prediction_sets import check_coverage
from wideresnet.records import DEFAULT_INFERENCE, Failure, InferenceSettings, Item, Prediction
from wideresnet.tasks.classify.pipeline import infer


def classify(
    classifier: Classifier, items: Iterable[Item], settings: InferenceSettings = DEFAULT_INFERENCE, *, k: int = 5
) -> Iterator[Prediction | Failure]:
    """Yield the ``k`` likeliest classes or a failure of each item, in the order of the items.

    Raises ConfigError if the settings ask for prediction sets that the model does not have.
    """
    check_coverage(classifier.card, settings.coverage)
    load = partial(
        load_batches, spec=classifier.card.specs, batch_size=settings.batch_size,
        threads=classifier.engine.info.threads, exif=settings.exif, reduced=settings.reduced,
    )  # fmt: skip
    for batch, logits in infer(classifier, items, load, settings.batch_size, settings.mode):
        yield from batch.in_order(classifier.answer(batch, logits, k, settings.coverage))
