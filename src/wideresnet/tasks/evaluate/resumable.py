"""An evaluation that keeps every score in a file, and goes on after any interruption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import DataError
from wideresnet.output.resumable_writer import check_target, open_resumable, part_of
from wideresnet.output.scores import Origin, format_of, read_scores, score_layout
from wideresnet.records import Failure, InferenceSettings, RunIdentity, Scored
from wideresnet.tasks.evaluate.evaluate import score

SAME = 1e-3                                        # of a probability: the difference that another CPU may make


def score_into(
    file: Path, classifier: Classifier, data: LabelledData, settings: InferenceSettings, *, resume: bool = False
) -> Iterator[Scored | Failure]:
    """Yield each score once it is written; ``file`` (.csv, .jsonl, .parquet) is complete when they end.

    With ``resume`` only the scores that an interrupted run of the same model and data lacks. Where the file is
    complete there are none; its first images are scored again, to check that it is of this model. Apart from the
    seconds the file is that of an uninterrupted run. Raises DataError and ConfigError.
    """
    format, batch_size = format_of(file), settings.batch_size
    if resume and file.exists() and not part_of(file).exists():
        _check_images(file, data)
        _check_scores(file, classifier, data, settings)
        return
    origin = Origin(classifier.card.name, data.name, classifier.labels)
    run, coverage = _identity(classifier, data, settings).as_json(), settings.coverage
    layout = origin.layout(score_layout(classifier.card, coverage))
    with open_resumable(file, format, run, resume=resume, layout=layout) as writer:
        for answer in score(classifier, data, batch_size, writer.records, settings.mode, coverage):
            writer.add(answer)
            yield answer


def check_scores(file: Path) -> None:
    """Raise ConfigError if scores cannot be written to ``file``, before a model is opened."""
    check_target(file, format_of(file))


def _identity(classifier: Classifier, data: LabelledData, settings: InferenceSettings) -> RunIdentity:
    """Return everything that decides the scores, to the last bit."""
    info = classifier.engine.info
    engine = {"engine": info.runtime, "precision": info.precision, "batch size": settings.batch_size}
    sets = {"coverage": settings.coverage} if settings.coverage else {}
    images = {"data": data.sha256, "shard": data.part, "exif": data.exif}
    return RunIdentity.of_model(classifier.card, engine | images | sets)


def _check_images(file: Path, data: LabelledData) -> None:
    """Raise DataError if a complete file is of other images."""
    for answer, item in zip_longest(read_scores(file), data.items):
        label = answer.label if isinstance(answer, Scored) else None
        if answer is None or item is None or answer.path != item.path or label not in (None, item.label):
            problem = f"{file} is complete, but of other images than {data.name}"
            raise DataError(problem, hint="without --resume it is replaced when all images are scored")


def _check_scores(file: Path, classifier: Classifier, data: LabelledData, settings: InferenceSettings) -> None:
    """Raise DataError if the first scores of a complete file are not those of ``classifier``."""
    size = settings.batch_size
    part = replace(data, items=data.items[:size], parent=data.parent or data)
    scores = score(classifier, part, size, mode="sync", coverage=settings.coverage)
    for then, now in zip(read_scores(file), scores, strict=False):
        if isinstance(then, Scored) and isinstance(now, Scored):
            same = then.top[0] == now.top[0] and abs(then.probabilities[0] - now.probabilities[0]) < SAME
            same &= (then.unknown, then.coverage) == (now.unknown, now.coverage)
        else:
            same = type(then) is type(now)
        if not same:
            problem = f"{file} is complete, but of another model or other settings: they answer {now.path} otherwise"
            raise DataError(problem, hint="without --resume it is replaced when all images are scored")
