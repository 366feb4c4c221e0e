"""An evaluation that keeps every score in a file, and goes on after any interruption."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.sample import balanced_sample
from wideresnet.errors import DataError
from wideresnet.output.resumable_writer import check_target, open_resumable, part_of
from wideresnet.output.scores import Origin, format_of, read_origin, read_scores, score_layout
from wideresnet.records import Failure, InferenceSettings, RunIdentity, Scored
from wideresnet.tasks.evaluate.evaluate import score

_REPLACED = "without --resume it is replaced when all images are scored"
SAME = 1e-3                                        # of a probability: the difference that another CPU may make


def score_into(
    file: Path, classifier: Classifier, data: LabelledData, settings: InferenceSettings, *, resume: bool = False
) -> Iterator[Scored | Failure]:
    """Yield each score once it is written; ``file`` (.csv, .jsonl, .parquet) is complete when they end.

    With ``resume`` only the scores that an interrupted run of the same model and data lacks. Where the file is
    complete there are none. It must state the same run, unless it is CSV; and some images are scored again, to check
    that it is of this model. Apart from the seconds the file is that of an uninterrupted run. Raises DataError and
    ConfigError.
    """
    format, batch_size, identity = format_of(file), settings.batch_size, _identity(classifier, data, settings)
    # Of whole files the size of a batch changes no score, but for rounding.
    digest = RunIdentity({key: value for key, value in identity.values.items() if key != "batch size"}).digest
    if is_complete(file, resume=resume):
        items = balanced_sample(data.items, max(batch_size, len(data.present)))
        stored = _check_images(file, data, {item.path for item in items})
        if read_origin(file).run not in ("", digest):
            raise _of_another_run(file, "")
        part = replace(data, items=items, parent=data.parent or data)
        _check_scores(file, stored, score(classifier, part, batch_size, mode="sync", coverage=settings.coverage))
        return
    origin = Origin(classifier.card.name, data.name, classifier.labels, digest)
    run, coverage = identity.as_json(), settings.coverage
    layout = origin.layout(score_layout(classifier.card, coverage))
    with open_resumable(file, format, run, resume=resume, layout=layout) as writer:
        for answer in score(classifier, data, batch_size, writer.records, settings.mode, coverage):
            writer.add(answer)
            yield answer


def is_complete(file: Path | None, *, resume: bool) -> bool:
    """Return whether ``resume`` finds a complete file of scores."""
    return file is not None and resume and file.exists() and not part_of(file).exists()


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


def _check_images(file: Path, data: LabelledData, paths: Collection[str]) -> dict[str, Scored | Failure]:
    """Return the answers to ``paths`` in a complete file. Raises DataError if it is of other images."""
    stored = dict[str, Scored | Failure]()
    for answer, item in zip_longest(read_scores(file), data.items):
        label = answer.label if isinstance(answer, Scored) else None
        if answer is None or item is None or answer.path != item.path or label not in (None, item.label):
            raise DataError(f"{file} is complete, but of other images than {data.name}", _REPLACED)
        if answer.path in paths:
            stored[answer.path] = answer
    return stored


def _check_scores(file: Path, stored: Mapping[str, Scored | Failure], scores: Iterable[Scored | Failure]) -> None:
    """Raise DataError if the answers ``stored`` in a complete file are not the ``scores`` of now."""
    for now in scores:
        then = stored[now.path]
        if isinstance(then, Scored) and isinstance(now, Scored):
            same = then.top[0] == now.top[0] and abs(then.probabilities[0] - now.probabilities[0]) < SAME
            same &= (then.unknown, then.coverage) == (now.unknown, now.coverage)
        else:
            same = type(then) is type(now)
        if not same:
            raise _of_another_run(file, f": they answer {now.path} otherwise")


def _of_another_run(file: Path, detail: str) -> DataError:
    return DataError(f"{file} is complete, but of another model or other settings{detail}", _REPLACED)
