"""An evaluation that keeps every score in a file, and goes on after any interruption."""

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

SAME = 1e-3                                        # of a probability: what another CPU may change


def score_into(
    file: Path,
    classifier: Classifier,
    data: LabelledData,
    batch_size: int,
    *,
    mode: InferMode = "async",
    resume: bool = False,
) -> Iterator[Scored | Failure]:
    """Scores as they are made and written; ``file`` (.csv, .jsonl, .parquet) is whole when they end.

    With ``resume`` only those that an interrupted run of the same model and data left; none where it was whole, of
    which the first images are scored again, to see that it is of this model. The file is then the same as if nothing
    had happened, but for the seconds. Raises DataError and ConfigError.
    """
    format = format_of(file)
    if resume and file.exists() and not part_of(file).exists():
        _refuse_others(file, data)
        _refuse_other_scores(file, classifier, data, batch_size)
        return
    run = _identity(classifier, data, batch_size)
    with open_resumable(file, format, run, resume=resume, layout=SCORE_LAYOUT) as writer:
        for answer in score(classifier, data, batch_size, first=writer.records, mode=mode):
            writer.add(answer)
            yield answer


def _identity(classifier: Classifier, data: LabelledData, batch_size: int) -> dict[str, object]:
    """What decides the scores, to the last bit."""
    card, info = classifier.card, classifier.engine.info
    return {
        "model": card.name, "graph": card.files, "weights": card.weights_sha256, "preprocess": asdict(card.preprocess),
        "engine": info.runtime, "precision": info.precision, "batch size": batch_size,
        "data": data.sha256, "shard": data.part, "exif": data.exif,
    }  # fmt: skip


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
    part = replace(data, items=data.items[:batch_size], parent=data.full_set)
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
