"""The evaluation of a model, with the settings that are fastest for many images: for the commands and for Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.open import open_labelled
from wideresnet.engines.throughput import BATCH, tune_settings
from wideresnet.errors import ConfigError
from wideresnet.output.progress import with_bar
from wideresnet.output.scores import format_of
from wideresnet.prediction_sets import check_coverage
from wideresnet.records import EvalReport, InferenceSettings, follow
from wideresnet.tasks.evaluate.evaluate import AnswerSource, blank_report, count, score, source_of_data
from wideresnet.tasks.evaluate.resumable import is_complete, score_into
from wideresnet.tasks.evaluate.training_images import with_warnings
from wideresnet.tasks.load.cifar_archive import locate_data
from wideresnet.tasks.load.load import bundle_of, open_classifier


def evaluate(
    model: Classifier | str | Path, data: LabelledData | Path | str, batch_size: int = 0, *, progress: bool = False,
    coverage: float = 0,
) -> EvalReport:  # fmt: skip
    """Return top-1 and top-5 accuracy and the other counts of ``model`` over ``data``, as fast as ``wrn evaluate``.

    ``model`` is an open classifier or a name as for ``load``. ``data`` is a folder of class folders, shards, a CIFAR
    archive, "cifar10" or "cifar100" (the official archive, downloaded once), or an open data set. ``batch_size``
    images are computed at once; 0: as tuned for this machine, or 8. ``progress`` shows a bar on stderr. ``coverage``,
    such as 0.95, also counts the prediction sets of a calibrated model that hold the right class.

    A model is opened once more for many images, unless it was loaded with ``streams``. EXIF orientation is ignored, as
    in published evaluations, unless ``data`` states otherwise. An image that cannot be read is a failure in the report
    and not counted. Raises DataError for data without labels or with other classes than the network, ConfigError for a
    batch size that is no whole number or below 0.
    """
    settings = InferenceSettings(batch_size=batch_size, coverage=coverage)
    if not isinstance(data, LabelledData | Path | str):
        raise ConfigError(f"data must be a path or a labelled data set, got {type(data).__name__}")
    named = model if isinstance(model, Classifier) else bundle_of(model)
    if not isinstance(data, LabelledData):
        data = open_labelled(locate_data(Path(data)), named.labels)
    source = _source(open_for_many(named, replace(settings, exif=data.exif)), data)
    if progress:
        source = replace(source, answers=with_bar(source.answers, "evaluating", source.images))
    return follow(count(source, check_order=False))


def source_of_model(
    bundle: Bundle, data: LabelledData, settings: InferenceSettings, file: Path | None = None, *, resume: bool = False
) -> AnswerSource:
    """Open the model and return its scores for ``data``; they are written to ``file``, if given."""
    if data.exif != settings.exif:                 # a copy would compute its hash again
        data = replace(data, exif=settings.exif)
    if resume and not file:
        raise ConfigError("--resume needs the file that was being written", hint="name it with -o")
    return _source(open_for_many(bundle, settings), data, file, resume=resume)


def open_for_many(
    model: Classifier | Bundle, settings: InferenceSettings
) -> tuple[Classifier, Bundle | None, InferenceSettings]:
    """Return a model opened for many images, its bundle, and ``settings`` with the batch size that fits them.

    An open model keeps its engine, precision and threads; it is itself if it was opened for many images or by hand.
    """
    if isinstance(model, Bundle):
        options, settings = tune_settings(model, settings)
        return open_classifier(model, settings.engine, options), model, settings
    options, info = model.options, model.engine.info
    if model.bundle is None:
        return model, None, replace(settings, batch_size=settings.batch_size or BATCH)
    bundle = replace(model.bundle, card=model.card, labels=model.labels)
    settings = replace(settings, engine=info.runtime, precision=options.precision, threads=options.threads)
    if options.hint == "throughput":
        return model, bundle, tune_settings(bundle, settings)[1]
    return open_for_many(bundle, settings)


def _source(
    opened: tuple[Classifier, Bundle | None, InferenceSettings], data: LabelledData, file: Path | None = None, *,
    resume: bool = False,
) -> AnswerSource:  # fmt: skip
    classifier, bundle, settings = opened
    card, name = classifier.card, str((bundle and bundle.folder) or "")
    check_coverage(card, settings.coverage, name)
    if file:
        scores = score_into(file, classifier, data, settings, resume=resume)
    else:
        scores = score(classifier, data, settings.batch_size, mode=settings.mode, coverage=settings.coverage)
    blank = blank_report(classifier, data, settings.coverage)
    blank = with_warnings(blank, bundle, data) if bundle else blank
    if file and is_complete(file, resume=resume) and format_of(file) == "csv":
        note = f"{file} is complete and, as CSV, states no settings: the scores may be of another engine or precision"
        blank = replace(blank, notes=(*blank.notes, note))
    return source_of_data(scores, blank, classifier.labels, data, card.labels_name, file)
