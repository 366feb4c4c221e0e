"""Accuracy over labelled images: scores of each image, exact counts, and the report."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle.files import GRAPH
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.logits import brier, check_logits, largest, nll, softmax
from wideresnet.machine import machine_facts
from wideresnet.output.scores import read_scores
from wideresnet.prediction_sets import batch_sets, p_values, precision_notes
from wideresnet.records import EngineInfo, InferMode, ModelCard, Progress, SetCoverage, Uncertainty, UncertaintyCounts
from wideresnet.records.accuracy import PassedOn
from wideresnet.records.evaluation import Conditions, EvalReport, Scored
from wideresnet.records.images import Batch, Failure, Item, Labels
from wideresnet.records.inference import InferenceSettings
from wideresnet.tasks.classify.classify import infer
from wideresnet.tasks.evaluate.label_order import check_label_order, with_order_warning
from wideresnet.tasks.evaluate.metrics import EvaluationAccumulator, accumulate
from wideresnet.tasks.evaluate.training_images import calibration_warning

BATCH = 64
TOP = 5                                            # classes stored for each image
CHECK_ORDER_AFTER = 1000                           # answers, when the label order is checked for the first time


@dataclass(frozen=True)
class AnswerSource:
    """Answers to be counted, with the metadata of their report.

    ``images`` is the number of images, ``present`` as for ``EvaluationAccumulator``. ``file`` is the complete record
    of the answers once ``answers`` ends, where they are only those that an earlier run left to do. ``labels_name``
    names the list of the labels, ``items`` are the images by path, as far as they are known.
    """

    answers: Iterable[Scored | Failure]
    blank: EvalReport
    labels: Labels
    images: int
    present: int = 0
    file: Path | None = None
    labels_name: str = ""
    items: Mapping[str, Item] = field(default_factory=dict)


def source_of_data(
    answers: Iterable[Scored | Failure], blank: EvalReport, labels: Labels, data: LabelledData, labels_name: str,
    file: Path | None = None,
) -> AnswerSource:  # fmt: skip
    """Return the source of the answers to all images of ``data``; the arguments are those of ``AnswerSource``."""
    items = {item.path: item for item in data.items}
    return AnswerSource(answers, blank, labels, len(items), masked_classes(data), file, labels_name, items)


def count(source: AnswerSource, *, check_order: bool = True) -> Generator[Progress, None, EvalReport]:
    """Count answers, reporting progress after each.

    With ``check_order`` raises DataError as soon as the labels prove to be in another order than the classes.
    """
    counts, blank = EvaluationAccumulator(source.present), source.blank
    for done, answer in enumerate(source.answers, start=1):
        counts.add(answer)
        if counts.n == CHECK_ORDER_AFTER and check_order:
            check_label_order(counts.report(blank), source.labels)
        yield Progress(blank.model, done, source.images)
    file = source.file
    report = accumulate(read_scores(file), blank, source.present) if file else counts.report(blank)
    if check_order:
        check_label_order(report, source.labels)
    return with_order_warning(report, source.labels)


def score(
    classifier: Classifier, data: LabelledData, batch_size: int = BATCH, first: int = 0, mode: InferMode = "async",
    coverage: float = 0,
) -> Iterator[Scored | Failure]:  # fmt: skip
    """Yield one score or failure for each image from index ``first`` on, in order.

    ``mode``: see ``infer``; ``coverage``: of the sets of a calibrated model. Batches have the same images for every
    ``first``, so that a resumed evaluation gives the same figures as an uninterrupted one. Raises DataError if the data
    has another number of classes.
    """
    if data.classes != len(classifier.labels.names):
        problem = f"{data.name} has {data.classes} classes, the network {len(classifier.labels.names)}"
        raise DataError(problem, hint="evaluate with a model of these classes")
    repeated = first % batch_size                  # scored before, and needed to fill the batch
    settings = InferenceSettings(batch_size=batch_size, exif=data.exif, mode=mode)
    start = time.perf_counter()
    for batch, logits in infer(classifier, data.items[first - repeated :], settings):
        now = time.perf_counter()
        seconds = (now - start) / max(1, len(batch.items))
        scores = score_logits(batch.items, logits, data.present, seconds)
        if batch.members is not None and (cascade := classifier.card.cascade):
            last = (batch.members == len(cascade.members) - 1).tolist()
            scores = [replace(row, passed_on=is_last) for row, is_last in zip(scores, last, strict=True)]
        if model := classifier.card.uncertainty:
            scores = score_uncertainty(scores, batch, logits, model, coverage)
        yield from list(batch.in_order(scores))[repeated:]
        repeated, start = 0, now


def score_logits(
    items: Sequence[Item], logits: NDArray[np.float32], present: Sequence[int], seconds: float = 0.0
) -> list[Scored]:
    """Return the scores of N labelled items from their logits [N, C].

    ``present``: the class indices in the data, ascending. Raises EngineError for logits that are not finite.
    """
    if not len(items):
        return []
    check_logits(logits)
    labels = np.array([item.label for item in items], np.int64)
    best = largest(logits, TOP)
    of_classes = softmax(logits)
    probabilities = np.take_along_axis(of_classes, best, axis=1)
    classes = np.asarray(present)
    masked_ranks = ranks(logits[:, classes], np.searchsorted(classes, labels))
    losses = np.stack([nll(logits, labels), brier(of_classes, labels)], axis=1).tolist()
    rows = zip(items, ranks(logits, labels), masked_ranks, best.tolist(), probabilities.tolist(), losses, strict=True)
    return [
        Scored(item.path, int(item.label or 0), int(rank), int(masked_rank), tuple(top), tuple(values), seconds, *pair)
        for item, rank, masked_rank, top, values, pair in rows
    ]


def score_uncertainty(
    scores: Sequence[Scored], batch: Batch, logits: NDArray[np.float32], model: Uncertainty, coverage: float
) -> list[Scored]:
    """Return the scores of a batch with the fields of a calibrated model; of sets unless ``coverage`` is 0."""
    pairs = zip(scores, p_values(batch, model), strict=True)
    scores = [replace(score, p_known=p_value, unknown=p_value < model.unknown.refused) for score, p_value in pairs]
    if not coverage:
        return scores
    return [
        replace(score, coverage=coverage, set_size=int(members.sum()), covered=bool(members[score.label]))
        for score, members in zip(scores, batch_sets(batch, logits, model, coverage), strict=True)
    ]


def ranks(values: NDArray[np.float32], columns: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the rank, from 1, of the value in column ``columns[i]`` of each row i; ties go to the lower index.

    ``values``: [N, C], ``columns``: [N].
    """
    target = np.take_along_axis(values, columns[:, None], axis=1)
    larger = (values > target).sum(axis=1)
    earlier = np.arange(values.shape[1]) < columns[:, None]
    return 1 + larger + ((values == target) & earlier).sum(axis=1)


def masked_classes(data: LabelledData) -> int:
    """Return the number of classes in the data if they are a subset of the network's, else 0."""
    return len(data.present) if len(data.present) < data.classes else 0


def blank_report(classifier: Classifier, data: LabelledData, coverage: float = 0) -> EvalReport:
    """Return an empty report with the metadata of the run."""
    return empty_report(classifier.card, classifier.labels, classifier.engine.info, data, coverage=coverage)


def empty_report(
    card: ModelCard, labels: Labels, engine: EngineInfo, data: LabelledData,
    machine: Mapping[str, object] | None = None, coverage: float = 0,
) -> EvalReport:  # fmt: skip
    """Return an empty report; ``machine`` describes another machine than this one."""
    conditions = Conditions(
        weights_sha256=card.weights_sha256,
        graph_sha256=card.files.get(GRAPH, ""),
        stored=card.precision,
        preprocess=card.preprocess,
        exif=data.exif,
        data_sha256=data.sha256,
        pictures=len(data.full_set.items),
        labels=labels,
        present=len(data.present),
        shards=(data.part,) if data.part else (),
        machine=machine_facts() if machine is None else machine,
        assumed=card.assumed,
        weights_source=card.weights_source,
    )
    sets, model = SetCoverage(coverage, 0, 0) if coverage else None, card.uncertainty
    return EvalReport(
        card.name, data.name, engine, 0, 0, 0, conditions=conditions, skipped=data.skipped,
        notes=(*data.notes, *calibration_warning(card, data), *precision_notes(card, engine)),
        uncertainty=UncertaintyCounts(model.digest, model.unknown.refused, sets=sets) if model else None,
        passed_on=PassedOn(card.cascade.point.passed_on95) if card.cascade else None,
    )  # fmt: skip
