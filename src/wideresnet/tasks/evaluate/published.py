"""Published accuracy, measured again: every model whose weights are here, on the data that are given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from wideresnet.bundle import Bundle, is_bundle, read_bundle
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import BundleError, DataError, DownloadError, WeightsError, WrnError
from wideresnet.records import Allowed, EvalReport, Labels, ModelInfo, Progress, Target, Verification, wilson_interval
from wideresnet.tasks.evaluate.evaluate import AnswerSource, blank_report, count, masked_classes, score
from wideresnet.tasks.load.cifar_archive import ARCHIVES
from wideresnet.tasks.load.describe import describe
from wideresnet.tasks.load.load import (
    EMBEDDED,
    ModelChoice,
    embedded_folder,
    find_weights,
    load_bundle,
    open_classifier,
)
from wideresnet.weights.cache import cache_folder
from wideresnet.weights.catalogue import CATALOGUE, Weights
from wideresnet.weights.store import fetch, is_cached

TOLERANCE = 0.001                                  # decoders and arithmetic move a few images in 50,000
LEVEL, Z = 0.999, 3.290526731491926                # of the interval: many figures are held to one at a time
IMAGENET_VAL = 50_000                              # images that published figures are of


@dataclass(frozen=True)
class VerifySettings:
    """What to verify, on which data, and how.

    ``data`` None: the CIFAR archives, as far as they are in the cache folder. ``models`` empty: all there are.
    ``weights``: the folder that holds the publishers' files; None: the cache folder. ``limit``: so many images, of
    every class the same; 0: all. ``tolerance`` is a fraction of 1.
    """

    data: Path | None = None
    models: tuple[str, ...] = ()
    weights: Path | None = None
    limit: int = 0
    tolerance: float = TOLERANCE
    engine: str = "openvino"
    precision: Literal["f32", "bf16"] = "f32"
    threads: int = 0


def verify(settings: VerifySettings) -> Iterator[Progress | Verification]:
    """Every model's verdict as soon as it is known, with what is being done in between. Downloads nothing.

    Raises ConfigError for a name that is no model, and DataError where there are no data.
    """
    if settings.data is not None and not settings.data.exists():
        raise DataError(f"no file or folder {str(settings.data)!r}")
    sets = _Sets(settings)
    for subject in [_subject(name) for name in settings.models or (*EMBEDDED, *CATALOGUE)]:
        yield from _verify(subject, sets, settings)


@dataclass(frozen=True)
class _Subject:
    """A model, and where it is: a bundle's folder or a row of the catalogue."""

    info: ModelInfo
    source: Path | Weights

    def is_here(self, folder: Path | None) -> bool:
        return is_bundle(self.source) if isinstance(self.source, Path) else is_cached(self.source, folder)

    def labels(self) -> Labels:
        return read_bundle(self.source).labels if isinstance(self.source, Path) else read_labels(self.source.labels)

    def load(self, folder: Path | None) -> Bundle:
        if isinstance(self.source, Path):
            return read_bundle(self.source)
        return load_bundle(ModelChoice(self.source.name, weights=fetch(self.source, cache=folder, offline=True)))


def _subject(name: str) -> _Subject:
    folder = embedded_folder(name) if name in EMBEDDED else Path(name)
    if is_bundle(folder):
        return _Subject(describe(name), folder)
    weights = find_weights(name)
    return _Subject(describe(weights.name), weights)


@dataclass
class _Sets:
    """The data as each label list reads them, opened once; or why it cannot."""

    settings: VerifySettings
    opened: dict[Labels, LabelledData] = field(default_factory=dict)

    def of(self, subject: _Subject) -> LabelledData:
        """Raises DataError when the data are not for its classes."""
        labels = subject.labels()
        if labels not in self.opened:
            data = open_labelled(self._path(subject.info.labels), labels)
            self.opened[labels] = _limited(data, self.settings.limit)
        return self.opened[labels]

    def _path(self, labels_name: str) -> Path:
        if self.settings.data is not None:
            return self.settings.data
        archive = cache_folder() / ARCHIVES[labels_name][0].archive if labels_name in ARCHIVES else None
        if archive is None or not archive.exists():
            raise DataError("no data were given for it", hint="give --data")
        return archive


def _limited(data: LabelledData, limit: int) -> LabelledData:
    if not limit or limit >= len(data.items):
        return data
    return replace(data, items=balanced_sample(data.items, limit), whole=data)


def _verify(subject: _Subject, sets: _Sets, settings: VerifySettings) -> Iterator[Progress | Verification]:
    info = subject.info
    if not subject.is_here(settings.weights):
        yield Verification(info, "absent", _how_to_get(subject, settings.weights or cache_folder()))
        return
    try:
        data = sets.of(subject)
        target = find_target(info, data)
    except DataError as error:
        yield Verification(info, "skipped", _words(error))
        return
    try:
        bundle = subject.load(settings.weights)
        options, batch = throughput_options(bundle, settings.precision, settings.threads)
        classifier = open_classifier(bundle, settings.engine, options)
        blank, answers = blank_report(classifier, data), score(classifier, data, batch)
        source = AnswerSource(answers, blank, classifier.labels, len(data.items), masked_classes(data))
        report = yield from count(source)
    except (DataError, DownloadError, BundleError, WeightsError) as error:
        yield Verification(info, "failed", _words(error), target)
        return
    yield judge(info, target, report, settings.tolerance)


def find_target(info: ModelInfo, data: LabelledData) -> Target:
    """What is known of this model on these data. Raises DataError where nothing is."""
    for each in info.measured:
        if each.data == data.name:
            how = f"measured before, {each.engine} in {each.precision}"
            return Target(each.correct1 / each.n, each.correct5 / each.n, how, each.n)
    if not info.published:
        raise DataError(f"no accuracy of it on {data.name} is known")
    if len(data.present) < data.classes:
        held = f"{len(data.present)} of {data.classes} classes"
        raise DataError(f"{data.name} holds {held}; the published accuracy is over all")
    first = info.published[0]
    return Target(first.top1, first.top5, first.source, IMAGENET_VAL)


def judge(info: ModelInfo, target: Target, report: EvalReport, tolerance: float) -> Verification:
    """Whether ``report`` bears ``target`` out: both accuracies, by the rule for its number of images."""
    if not report.n:
        return Verification(info, "failed", "none of the images could be read", target, report)
    if report.n == target.pictures:
        around = [(share - tolerance, share + tolerance) for share in (report.top1, report.top5)]
        allowed = Allowed("tolerance", around[0], around[1], tolerance, LEVEL)
    else:
        top1, top5 = (wilson_interval(correct, report.n, Z) for correct in (report.correct1, report.correct5))
        allowed = Allowed("interval", top1, top5, tolerance, LEVEL)
    inside = _within(target.top1, allowed.top1) and _within(target.top5, allowed.top5)
    return Verification(info, "passed" if inside else "failed", "", target, report, allowed)


def _within(share: float, limits: tuple[float, float]) -> bool:
    # A tenth of a point is no binary fraction: a difference of exactly the tolerance must not fail by its last bit.
    return limits[0] - 1e-9 <= share <= limits[1] + 1e-9


def _how_to_get(subject: _Subject, folder: Path) -> str:
    if isinstance(subject.source, Path):           # an embedded model of a package without it
        return "it is not in this installation"
    return f"put {subject.source.urls[0]} into {folder}"


def _words(error: WrnError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def succeeded(rows: Sequence[Verification]) -> bool:
    """Whether something was verified, and nothing was found to be otherwise than printed or unreadable."""
    reports = [row.report for row in rows if row.report]
    failed = any(row.verdict == "failed" for row in rows) or any(report.failures for report in reports)
    return bool(reports) and not failed
