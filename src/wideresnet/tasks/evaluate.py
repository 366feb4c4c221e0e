"""Accuracy over labelled pictures, by exact counting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wideresnet.classifier import Classifier
from wideresnet.data.labelled import LabelledData
from wideresnet.data.open import open_labelled
from wideresnet.errors import DataError
from wideresnet.images.loader import load_batches
from wideresnet.images.top_k import largest
from wideresnet.machine import available_cpus
from wideresnet.records import EvalReport
from wideresnet.tasks.archive import locate_data


def evaluate(classifier: Classifier, data: LabelledData | Path | str, batch_size: int = 64) -> EvalReport:
    """Top-1 and top-5 over ``data``: a labelled set, a folder of class folders, a CIFAR archive,
    or the word "cifar10" or "cifar100" for the official archive, downloaded once.

    EXIF orientation is ignored, as in every published evaluation. A picture that cannot be read is a
    failure in the report and counts neither as right nor as answered. Raises DataError for data that is
    not labelled, or is of other classes than the network.
    """
    if not isinstance(data, LabelledData):
        data = open_labelled(locate_data(Path(data)), classifier.labels)
    report = empty_report(classifier, data)
    for part in evaluate_batches(classifier, data, batch_size):
        report += part
    return report


def evaluate_batches(classifier: Classifier, data: LabelledData, batch_size: int = 64) -> Iterator[EvalReport]:
    """The report of each batch as it is done; their sum is the whole."""
    if data.classes != len(classifier.labels.names):
        raise DataError(
            f"{data.name} has {data.classes} classes, the network {len(classifier.labels.names)}",
            hint="evaluate with a model of these classes",
        )
    spec = classifier.card.preprocess
    start = time.perf_counter()
    batches = load_batches(
        data.items, spec, batch_size=batch_size, threads=available_cpus(), exif="ignore"
    )
    for batch, logits in classifier.stream(batches):
        right = np.array([item.label for item in batch.items], np.int64).reshape(-1, 1)
        hits = largest(logits, 5) == right
        now = time.perf_counter()
        yield EvalReport(
            model=classifier.card.name,
            data=data.name,
            engine=classifier.engine.info,
            n=len(batch.items),
            correct1=int(hits[:, :1].sum()),
            correct5=int(hits.sum()),
            failures=batch.failures,
            seconds=now - start,
        )
        start = now


def empty_report(classifier: Classifier, data: LabelledData) -> EvalReport:
    """The report of no picture: what sums begin with."""
    return EvalReport(classifier.card.name, data.name, classifier.engine.info, n=0, correct1=0, correct5=0)
