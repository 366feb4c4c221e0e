"""An evaluation that keeps every score in a file, and goes on after any interruption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.engines.throughput import tune_settings
from wideresnet.errors import ConfigError, DataError
from wideresnet.output.resumable_writer import check_target, open_resumable, part_of
from wideresnet.output.scores import SCORE_LAYOUT, format_of, read_scores
from wideresnet.records import Failure, InferenceSettings, RunIdentity, Scored
from wideresnet.tasks.evaluate.evaluate import AnswerSource, blank_report, masked_classes, score
from wideresnet.tasks.load.load import open_classifier

SAME = 1e-3                                        # of a probability: what another CPU may change


def score_into(
    file: Path,
    classifier: Classifier,
    data: LabelledData,
    settings: InferenceSettings,
    *,
    resume: bool = False,
) -> Iterator[Scored | Failure]:
    """Scores as they are made and written; ``file`` (.csv, .jsonl, .parquet) is whole when they end.

    With ``resume`` only those that an interrupted run of the same model and data left; none where it was whole, of
    which the first images are scored again, to see that it is of this model. The file is then the same as if nothing
    had happened, but for the seconds. Raises DataError and ConfigError.
    """
    format, batch_size = format_of(file), settings.batch_size
    if resume and file.exists() and not part_of(file).exists():
        _refuse_others(file, data)
        _refuse_other_scores(file, classifier, data, batch_size)
        return
    run = _identity(classifier, data, batch_size).as_json()
    with open_resumable(file, format, run, resume=resume, layout=SCORE_LAYOUT) as writer:
        for answer in score(classifier, data, batch_size, first=writer.records, mode=settings.mode):
            writer.add(answer)
            yield answer


def source_of_model(
    bundle: Bundle, data: LabelledData, settings: InferenceSettings, file: Path | None, *, resume: bool = False
) -> AnswerSource:
    """Open the model and return its scores for ``data``; they are written to ``file``, if given."""
    options, settings = tune_settings(bundle, settings)
    classifier, data = open_classifier(bundle, settings.engine, options), replace(data, exif=settings.exif)
    if file:
        scores = score_into(file, classifier, data, settings, resume=resume)
    elif resume:
        raise ConfigError("--resume needs the file that was being written", hint="name it with -o")
    else:
        scores = score(classifier, data, settings.batch_size, mode=settings.mode)
    items, present = {item.path: item for item in data.items}, masked_classes(data)
    blank, name = blank_report(classifier, data), bundle.card.labels_name
    return AnswerSource(scores, blank, bundle.labels, len(items), present, file, name, items)


def check_scores(file: Path) -> None:
    """Raise ConfigError if scores cannot be written to ``file``, before a model is opened."""
    format_of(file)
    check_target(file)


def _identity(classifier: Classifier, data: LabelledData, batch_size: int) -> RunIdentity:
    """Return everything that decides the scores, to the last bit."""
    info = classifier.engine.info
    engine = {"engine": info.runtime, "precision": info.precision, "batch size": batch_size}
    images = {"data": data.sha256, "shard": data.part, "exif": data.exif}
    return RunIdentity.of_model(classifier.card, engine | images)


def _refuse_others(file: Path, data: LabelledData) -> None:
    """Raises DataError where a whole file is of other images."""
    for answer, item in zip_longest(read_scores(file), data.items):
        label = answer.label if isinstance(answer, Scored) else None
        if answer is None or item is None or answer.path != item.path or label not in (None, item.label):
            raise DataError(
                f"{file} is whole, but of other images than {data.name}",
                hint="without --resume it is replaced when all images are scored",
            )


def _refuse_other_scores(file: Path, classifier: Classifier, data: LabelledData, batch_size: int) -> None:
    """Raises DataError where the first scores of a whole file are not those of ``classifier``."""
    part = replace(data, items=data.items[:batch_size], parent=data.parent or data)
    for then, now in zip(read_scores(file), score(classifier, part, batch_size, mode="sync"), strict=False):
        if isinstance(then, Scored) and isinstance(now, Scored):
            same = then.top[0] == now.top[0] and abs(then.probabilities[0] - now.probabilities[0]) < SAME
        else:
            same = type(then) is type(now)
        if not same:
            raise DataError(
                f"{file} is whole, but of another model or other settings: they answer {now.path} otherwise",
                hint="without --resume it is replaced when all images are scored",
            )
