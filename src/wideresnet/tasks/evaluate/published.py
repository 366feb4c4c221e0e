"""Measured beside published accuracy, for the models that are on this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wideresnet.architectures import Architecture
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.labels import read_labels
from wideresnet.datasets.open import open_labelled
from wideresnet.errors import BundleError, DataError, DownloadError, WeightsError, WrnError
from wideresnet.records import Allowed, EvalReport, Labels, ModelInfo, Progress, Target, Verification
from wideresnet.records.accuracy import exact_interval
from wideresnet.records.inference import InferenceSettings
from wideresnet.tasks.evaluate.evaluate import count
from wideresnet.tasks.evaluate.model import source_of_model
from wideresnet.tasks.load.cifar_archive import ARCHIVES
from wideresnet.tasks.load.describe import describe_card, describe_weights
from wideresnet.tasks.load.hub import HubRepository
from wideresnet.tasks.load.load import ModelChoice, load_bundle
from wideresnet.tasks.load.resolve import EMBEDDED, BundleFolder, WeightsFile, resolve_model, unpublished
from wideresnet.weights.cache import cache_folder
from wideresnet.weights.catalogue import CATALOGUE, Weights
from wideresnet.weights.store import fetch, is_cached

TOLERANCE = 0.001                                  # image decoders and arithmetic change a few answers of 50,000
LEVEL = 0.999                                      # of the interval: strict, since many figures are checked
IMAGENET_VAL = 50_000                              # images that published figures are of


@dataclass(frozen=True)
class VerifySettings:
    """The models to verify, the data, and the engine.

    ``data`` None: the CIFAR archives that are in the cache folder. ``models`` empty: all on this machine.
    ``weights``: the folder with the publishers' files; None: the cache folder. ``limit``: the number of images,
    the same share of every class; 0: all. ``tolerance`` is a fraction. EXIF orientation is as the data state.
    """

    data: Path | None = None
    models: tuple[str, ...] = ()
    weights: Path | None = None
    limit: int = 0
    tolerance: float = TOLERANCE
    inference: InferenceSettings = field(default_factory=lambda: InferenceSettings(batch_size=0))


def verify(settings: VerifySettings) -> Iterator[Generator[Progress, None, Verification]]:
    """Yield the verification of each model, to be run to its end before the next. Downloads nothing.

    Raises ConfigError for a name that is not a model, DataError if there is no data, and BundleError or WeightsError
    for a bundle or file that cannot be opened.
    """
    if settings.data is not None and not settings.data.exists():
        raise DataError(f"no such file or directory: {str(settings.data)!r}", hint="check the path of the data")
    data_sets = _DataSets(settings)
    for name, source in {name: _resolve(name) for name in settings.models or (*EMBEDDED, *CATALOGUE)}.items():
        yield _verify(name, source, data_sets)


def succeeded(rows: Sequence[Verification]) -> bool:
    """Return whether a model was verified, none differs from its target, and every image could be read."""
    reports = [row.report for row in rows if row.report]
    failed = any(row.verdict == "failed" for row in rows) or any(report.failures for report in reports)
    return bool(reports) and not failed


def _resolve(name: str) -> BundleFolder | WeightsFile | Weights | HubRepository:
    source = resolve_model(name)
    if isinstance(source, Architecture):
        raise unpublished(source)
    return source


@dataclass
class _DataSets:
    """The data as read with each list of labels, opened once."""

    settings: VerifySettings
    opened: dict[Labels, LabelledData] = field(default_factory=dict)

    def open(self, labels: Labels, labels_name: str) -> LabelledData:
        """Return the data for a model with ``labels``. Raises DataError if they do not fit, or if there is none."""
        if labels not in self.opened:
            path, limit = self.settings.data or self._archive(labels_name), self.settings.limit
            data = open_labelled(path, labels)
            if 0 < limit < len(data.items):
                items = sorted(data.items, key=lambda item: item.label or 0)
                data = replace(data, items=[items[i * len(items) // limit] for i in range(limit)], parent=data)
            self.opened[labels] = data
        return self.opened[labels]

    def _archive(self, labels_name: str) -> Path:
        archive = cache_folder() / ARCHIVES[labels_name][0].archive if labels_name in ARCHIVES else None
        if archive is None or not archive.exists():
            raise DataError("no data were given for it", hint="give the labelled images")
        return archive


def _verify(
    name: str, source: BundleFolder | WeightsFile | Weights | HubRepository, data_sets: _DataSets
) -> Generator[Progress, None, Verification]:
    settings, bundle = data_sets.settings, None
    if isinstance(source, Weights):
        info, labels = describe_weights(source), read_labels(source.labels)
        if not is_cached(source, settings.weights):
            return Verification(info, "absent", f"put {source.url} into {settings.weights or cache_folder()}")
    else:
        bundle = load_bundle(ModelChoice(name, offline=True))
        info, labels = describe_card(bundle.card), bundle.labels
    try:
        data = data_sets.open(labels, info.labels)
        target = find_target(info, data)
    except DataError as error:
        return Verification(info, "skipped", _note(error))
    try:
        if isinstance(source, Weights):
            file = fetch(source, cache=settings.weights, offline=True)
            bundle = load_bundle(ModelChoice(source.name, weights=file))
        assert bundle is not None
        report = yield from count(source_of_model(bundle, data, replace(settings.inference, exif=data.exif)))
    except (DataError, DownloadError, BundleError, WeightsError) as error:
        return Verification(info, "failed", _note(error), target)
    return compare_with_target(info, target, report, settings.tolerance)


def find_target(info: ModelInfo, data: LabelledData) -> Target:
    """Return the measured or published accuracy of a model on ``data``. Raises DataError if there is none."""
    for measured in info.measured:
        if measured.data == data.name:
            source = f"measured before, {measured.engine} in {measured.precision}"
            return Target(measured.correct1 / measured.n, measured.correct5 / measured.n, source, measured.n)
    if not info.published:
        raise DataError(f"no accuracy of it on {data.name} is known")
    if len(data.present) < data.classes:
        present = f"{len(data.present)} of {data.classes} classes"
        raise DataError(f"{data.name} holds {present}; the published accuracy is over all")
    published = info.published[0]
    return Target(published.top1, published.top5, published.source, IMAGENET_VAL)


def compare_with_target(info: ModelInfo, target: Target, report: EvalReport, tolerance: float) -> Verification:
    """Compare both accuracies of ``report`` with ``target``.

    On the whole set they may differ by ``tolerance``, if the target is of as many images; else the target must be
    inside the interval of the fewer images.
    """
    if not report.n:
        return Verification(info, "failed", "none of the images could be read", target, report)
    complete = report.conditions.pictures if report.conditions else report.n
    if report.n == target.pictures == complete:
        top1, top5 = ((measured - tolerance, measured + tolerance) for measured in (report.top1, report.top5))
        allowed = Allowed("tolerance", top1, top5, tolerance, LEVEL)
    else:
        n = min(report.n, target.pictures)         # the smaller sample is the less certain one
        top1, top5 = (exact_interval(round(figure * n), n, LEVEL) for figure in (report.top1, report.top5))
        allowed = Allowed("interval", top1, top5, tolerance, LEVEL)
    passed = _within(target.top1, allowed.top1) and _within(target.top5, allowed.top5)
    return Verification(info, "passed" if passed else "failed", "", target, report, allowed)


def _within(value: float, limits: tuple[float, float]) -> bool:
    # 0.001 is not a binary fraction: a difference of exactly the tolerance must not fail by its last bit.
    return limits[0] - 1e-9 <= value <= limits[1] + 1e-9


def _note(error: WrnError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
