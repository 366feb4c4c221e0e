"""Evaluation that writes every score to a file and resumes after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path

from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.output.resumable_writer import open_resumable, part_of
from wideresnet.output.scores import SCORE_LAYOUT, format_of, read_scores
from wideresnet.records import Failure, Scored
from wideresnet.tasks.classify.pipeline import InferMode
from wideresnet.tasks.evaluate.evaluate import score

TOLERANCE = 1e-3                                   # of a probability: differences between CPUs


def score_into(
    file: Path,
    classifier: Classifier,
    data: LabelledData,
    batch_size: int,
    *,
    mode: InferMode = "async",
    resume: bool = False,
) -> Iterator[Scored | Failure]:
    """Yield scores while they are written; ``file`` (.csv, .jsonl, .parquet) is complete when they end.

    With ``resume`` only the images that an interrupted run of the same model and data has not scored; the file is then
    equal to that of an uninterrupted run, except for the seconds. If the file is already complete, nothing is yielded,
    but its first images are scored again to check that it is of this model. Raises DataError and ConfigError.
    """
    format = format_of(file)
    if resume and file.exists() and not part_of(file).exists():
        _check_images(file, data)
        _check_scores(file, classifier, data, batch_size)
        return
    run = _identity(classifier, data, batch_size)
    with open_resumable(file, format, run, resume=resume, layout=SCORE_LAYOUT) as writer:
        for answer in score(classifier, data, batch_size, first=writer.records, mode=mode):
            writer.add(answer)
            yield answer


def _identity(classifier: Classifier, data: LabelledData, batch_size: int) -> dict[str, object]:
    """Return everything that the scores depend on."""
    card, info = classifier.card, classifier.engine.info
    return {
        "model": card.name, "graph": card.files, "weights": card.weights_sha256, "preprocess": asdict(card.preprocess),
        "engine": info.runtime, "precision": info.precision, "batch size": batch_size,
        "data": data.sha256, "shard": data.part, "exif": data.exif,
    }  # fmt: skip


def _check_images(file: Path, data: LabelledData) -> None:
    """Raise DataError if a complete file is of other images."""
    for answer, item in zip_longest(read_scores(file), data.items):
        label = answer.label if isinstance(answer, Scored) else None
        if answer is None or item is None or answer.path != item.path or label not in (None, item.label):
            raise DataError(
                f"{file} is complete, but of other images than {data.name}",
                hint="leave out --resume to replace it",
            )


def _check_scores(file: Path, classifier: Classifier, data: LabelledData, batch_size: int) -> None:
    """Raise DataError if the first scores of a complete file are not those of ``classifier``."""
    part = replace(data, items=data.items[:batch_size], parent=data.full_set)
    for stored, score_now in zip(read_scores(file), score(classifier, part, batch_size, mode="sync"), strict=False):
        if isinstance(stored, Scored) and isinstance(score_now, Scored):
            difference = abs(stored.probabilities[0] - score_now.probabilities[0])
            equal = stored.top[0] == score_now.top[0] and difference < TOLERANCE
        else:
            equal = type(stored) is type(score_now)
        if not equal:
            raise DataError(
                f"{file} is complete, but of another model or other settings: the scores of {score_now.path} differ",
                hint="leave out --resume to replace it",
            )
