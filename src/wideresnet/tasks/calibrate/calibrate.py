"""Calibration of a bundle: temperature, prediction sets and unknown images, measured on images that fitted nothing.

    fit       temperature and margin scale; free ranks and penalty of "raps"; the bank, if no other images are given
    scores    thresholds of sets, of selective answers, and of unknown images
    test      nothing: every figure of the report

A quarter, a quarter and half of the images of each class, drawn with the seed 0; with a test set of its own, half and
half. All images run twice: as the network was, and as it is written.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from wideresnet import records
from wideresnet.bundle import Bundle, check_target, write_bundle
from wideresnet.bundle.derive import NOTE, uncalibrated
from wideresnet.classifier import Classifier
from wideresnet.datasets.copies import count_shared
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.open import open_labelled
from wideresnet.datasets.sample import balanced_sample
from wideresnet.engines.features import Features, open_features
from wideresnet.engines.open import open_engine
from wideresnet.engines.throughput import throughput_options
from wideresnet.errors import BundleError, ConfigError, DataError, check_choice, errors_as
from wideresnet.graph.calibrated import SCORE, with_known_score, with_temperature
from wideresnet.graph.outputs import FEATURES
from wideresnet.images.loader import load_batches
from wideresnet.logits import check_logits
from wideresnet.output.progress import run_shown
from wideresnet.prediction_sets import fewest_to_refuse, set_draws
from wideresnet.tasks.calibrate import conformal
from wideresnet.tasks.calibrate.temperature import confidence_bins, fit_margin, fit_temperature, reliability
from wideresnet.tasks.calibrate.unknown import WITHOUT_BANK, bank_size, default_method, method_constants, notes_on_bank
from wideresnet.tasks.evaluate.evaluate import empty_report, masked_classes, score_logits
from wideresnet.tasks.evaluate.label_order import check_label_order
from wideresnet.tasks.evaluate.metrics import accumulate
from wideresnet.tasks.evaluate.training_images import choosing_images, run_indices, training_images
from wideresnet.tasks.load.cifar_archive import locate_data
from wideresnet.tasks.load.load import bundle_of
from wideresnet.tasks.quantize.calibration_data import calibration_pool, holds_both_sets

FIT, SCORES, TEST = "fit", "scores", "test"
BATCH = 64
SCORE_BINS = 20


@dataclass(frozen=True)
class CalibrateSettings:
    """The methods of a calibration: see ``SetModel`` for ``sets``, ``graph.calibrated`` for ``unknown`` (None: see
    ``default_method``).

    ``per_class``: sets have the coverage for each class, where it has images enough. ``refused``: the fraction of
    genuine images that may be called unknown.
    """

    sets: records.SetMethod = "lac"
    per_class: bool = False
    unknown: records.UnknownMethod | None = None
    refused: float = 0.01

    def __post_init__(self) -> None:
        check_choice("method of sets", self.sets, get_args(records.SetMethod))
        if self.unknown is not None:
            check_choice("score of unknown images", self.unknown, get_args(records.UnknownMethod))
        if not 0 < self.refused < 1:
            raise ConfigError(f"the fraction of refused images is between 0 and 1, got {self.refused}")


@dataclass(frozen=True)
class CalibrationImages:
    """Labelled images that the network was not trained on, and ``bank``: images that it knows.

    ``bank_name`` is a noun for these: "training images of cifar10".
    """

    data: LabelledData
    test: LabelledData | None = None
    bank: Sequence[records.Item] = ()
    bank_name: str = ""


@dataclass(frozen=True, eq=False)
class _Outputs:
    """The outputs of a network for N readable images: by name, with their labels and draws."""

    labels: NDArray[np.int64]
    draws: NDArray[np.float64]
    values: dict[str, NDArray[np.float32]]
    items: tuple[records.Item, ...]
    failures: tuple[records.Failure, ...]

    @property
    def answered(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
        return self.values["logits"], self.labels, self.draws


def calibrate(
    model: Classifier | str | Path, data: LabelledData | Path | str, output: Path | str, *,
    test: LabelledData | Path | str | None = None, bank: Path | str | None = None,
    settings: CalibrateSettings | None = None, progress: bool = False,
) -> records.CalibrateReport:  # fmt: skip
    """Calibrate ``model`` on labelled images that it was not trained on, and write it as the bundle ``output``.

    ``test``: other labelled images for the measurements. ``bank``: images that the network knows, best those it was
    trained on; by default the training images beside ``data``, else a part of it. ``progress`` shows a bar on stderr.
    Raises DataError for too few images, classes without any, and labels in another order than the network's.
    """
    bundle = bundle_of(model)
    check_target(Path(output), bundle.folder, bundle.source)
    settings = settings or CalibrateSettings()
    images = open_calibration_images(bundle, data, test, bank, settings.unknown)
    work = calibrate_bundle(bundle, images, settings, Path(output))
    return run_shown(work, "calibrating", progress)


def open_calibration_images(
    bundle: Bundle, data: LabelledData | Path | str, test: LabelledData | Path | str | None, bank: Path | str | None,
    unknown: records.UnknownMethod | None = None,
) -> CalibrationImages:  # fmt: skip
    """Open the images of a calibration; without ``bank`` the training images beside ``data``, if it has both splits.

    Raises ConfigError for a ``bank`` that the method ``unknown`` does not use.
    """
    if bank is not None and unknown in WITHOUT_BANK:
        raise ConfigError(f"a bank has no effect on {unknown}, which uses no other images", hint="leave out --bank")
    bundle.check_single()
    labels = bundle.labels
    sets = [
        item if isinstance(item, LabelledData) or item is None
        else replace(open_labelled(locate_data(Path(item)), labels), exif="transpose")     # as classify and serve do
        for item in (data, test)
    ]
    kind, run_data = "images", run_indices(bundle)
    if bank is None and run_data:
        bank, kind = run_data[0], "training images"
    elif bank is None and isinstance(data, Path | str) and holds_both_sets(locate_data(Path(data)), labels):
        bank, kind = data, "training images"
    hint = "name some with --bank" if run_data and bank == run_data[0] else None
    with errors_as(DataError, DataError, "no images that the network knows", hint):
        pool = [] if bank is None else calibration_pool(locate_data(Path(bank)), labels).items
    assert sets[0] is not None
    return CalibrationImages(sets[0], sets[1], pool, "" if bank is None else f"{kind} of {Path(bank).name}")


def calibrate_bundle(
    bundle: Bundle, images: CalibrationImages, settings: CalibrateSettings, output: Path
) -> Generator[records.Progress, None, records.CalibrateReport]:
    """Calibrate a bundle and write it; see ``calibrate``."""
    parts = _split(bundle, images, settings)
    bank = balanced_sample(images.bank or parts[FIT], bank_size(bundle.card.classes))
    chose = _check_unseen(bundle, images, bank if images.bank else [])
    bundle, data = uncalibrated(bundle), images.data
    original = open_features(bundle, [FEATURES], options=throughput_options(bundle, "f32")[0])
    total = 2 * sum(map(len, parts.values())) + len(bank)
    runs, before, after = _Runs(bundle, data.exif, settings.sets, total), dict[str, _Outputs](), dict[str, _Outputs]()
    for name, items in (*parts.items(), ("bank", bank)):
        before[name] = yield from runs.outputs(original, items, f"{name} images")
        if name in (SCORES, TEST):
            del before[name].values[FEATURES]      # as large as the images
    _check_fewest(len(before[SCORES].labels), 1, settings, f"{data.name} has {{:,}} readable images for thresholds")
    _check_order(bundle, data, original.engine.info, before)
    logits, labels, _ = before[FIT].answered
    temperature = fit_temperature(logits, labels)
    margin = fit_margin(logits / temperature, labels)
    reference = before["bank"].values
    method = settings.unknown or default_method(*reference[FEATURES].shape)
    constants = method_constants(method, reference[FEATURES], reference["logits"] / temperature)
    model = with_known_score(with_temperature(bundle.model, temperature, margin), method, constants)
    calibrated = bundle.with_model(model)
    deployed = Features(open_engine(calibrated, options=throughput_options(bundle, "f32")[0]), (SCORE,))
    for name, items in parts.items():
        after[name] = yield from runs.outputs(deployed, items, f"{name} images, calibrated")
        if changed := int((after[name].values["logits"].argmax(1) != before[name].values["logits"].argmax(1)).sum()):
            raise BundleError(f"the calibrated graph answers {changed:,} {name} images differently: it was not written")
    rank = int(constants["k"][0]) if "k" in constants else 0
    unknown = records.UnknownModel(
        method, conformal.quantiles(-after[SCORES].values[SCORE].ravel()), settings.refused,
        f"{len(reference['logits']):,} {images.bank_name or f'images of {data.name}'}" if constants else "", rank,
    )  # fmt: skip
    sets = conformal.fit_sets(settings.sets, after[FIT].answered, after[SCORES].answered, per_class=settings.per_class)
    uncertainty = replace(_measured(images, temperature, sets, unknown, before, after), margin=margin)
    notes = {name: note for name, note in bundle.card.notes.items() if name != NOTE}
    write_bundle(output, replace(calibrated, card=replace(bundle.card, uncertainty=uncertainty, notes=notes)))
    failures = tuple(failure for outputs in before.values() for failure in outputs.failures)
    bins, new_bins = (confidence_bins(*part[TEST].answered[:2]) for part in (before, after))
    p_values = _p_values(unknown, after)
    counts = np.bincount(np.minimum((p_values * records.P_BINS).astype(int), records.P_BINS - 1), None, records.P_BINS)
    return records.CalibrateReport(
        str(output), bundle.card.name, uncertainty, bins, new_bins, tuple(counts.tolist()),
        _histograms(*(after[name].values[SCORE].ravel() for name in (SCORES, TEST))), failures,
        (*chose, *_notes_on_images(images, parts), *notes_on_bank(method, *reference[FEATURES].shape),
         *conformal.notes_on_classes(sets)),
        data.skipped + (images.test.skipped if images.test else records.Skipped()),
    )  # fmt: skip


def _p_values(unknown: records.UnknownModel, after: dict[str, _Outputs]) -> NDArray[np.float64]:
    return np.array([unknown.scores.p_value(-score) for score in after[TEST].values[SCORE].ravel().tolist()])


def _histograms(*scores: NDArray[np.float32]) -> records.KnownScores:
    """Return the scores of the images that set thresholds, and of the test images, in common bins."""
    least, most = min(float(values.min()) for values in scores), max(float(values.max()) for values in scores)
    counts = (tuple(np.histogram(values, SCORE_BINS, (least, most))[0].tolist()) for values in scores)
    return records.KnownScores(least, most, *counts)


def _check_unseen(bundle: Bundle, images: CalibrationImages, bank: Sequence[records.Item]) -> list[str]:
    """Raise DataError if the network was trained on some of the images, or if they are in another set too.

    Return a note if some of them chose its epoch.
    """
    data, test = images.data.items, images.test.items if images.test else []
    hint = "calibrate with images that the network has never seen"
    if count := max(len(training_images(bundle, items)) for items in (data, test)):
        raise DataError(f"{bundle.card.name} was trained on {count:,} of the images to calibrate with", hint)
    if count := count_shared(bank, [*data, *test]):
        raise DataError(f"{count:,} of the images to calibrate with are also in the bank: {images.bank_name}", hint)
    if images.test and (count := count_shared(data, test)):
        problem = f"{count:,} images of {images.test.name} are among those of {images.data.name}"
        raise DataError(problem, hint="leave out --test to measure with half of --data")
    count = max(len(choosing_images(bundle, items)) for items in (data, test))
    name = bundle.card.name
    note = f"{count:,} of the images chose the epoch of {name}: the calibration and its figures are optimistic"
    return [note] if count else []


def _split(bundle: Bundle, images: CalibrationImages, settings: CalibrateSettings) -> dict[str, list[records.Item]]:
    """Divide the images of each class among the parts. Raises DataError for too few images and for missing classes."""
    data, labels = images.data, bundle.labels
    for labelled in filter(None, (data, images.test)):
        if labelled.classes != len(labels.names):
            raise DataError(f"{labelled.name} has {labelled.classes} classes, the network {len(labels.names)}")
        if unlabelled := sum(item.label is None for item in labelled.items):
            problem = f"{unlabelled:,} of {len(labelled.items):,} images of {labelled.name} have no label"
            raise DataError(problem, hint="calibrate with labelled images")
    missing = [labels.names[index] for index in sorted({*range(data.classes)} - {*data.present})]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        problem = f"{data.name} has no image of {len(missing):,} of {data.classes:,} classes: {names}"
        raise DataError(problem, hint="calibrate with images as the network will be asked about: of every class")
    cycle = (FIT, SCORES) if images.test else (TEST, FIT, TEST, SCORES)
    _check_fewest(len(data.items), len(cycle), settings, f"{data.name} has {{:,}} images")
    rng = np.random.default_rng(0)
    order = sorted(rng.permutation(len(data.items)).tolist(), key=lambda index: data.items[index].label or 0)
    parts: dict[str, list[records.Item]] = {name: [] for name in (FIT, SCORES, TEST)}
    for turn, index in enumerate(order):
        parts[cycle[turn % len(cycle)]].append(data.items[index])
    return parts | ({TEST: list(images.test.items)} if images.test else {})


def _check_fewest(n: int, parts: int, settings: CalibrateSettings, problem: str) -> None:
    """Raise DataError if ``n`` images in ``parts`` equal parts are too few for the threshold of unknown images."""
    needed = fewest_to_refuse(settings.refused)
    if n < needed * parts:
        raise DataError(
            f"{problem.format(n)}: refusing {100 * settings.refused:g} % of genuine images takes {needed * parts:,}, of"
            f" which {needed:,} decide the threshold",
            hint="give more images, or accept more refusals with --refuse",
        )


def _notes_on_images(images: CalibrationImages, parts: dict[str, list[records.Item]]) -> Iterator[str]:
    yield from (note for labelled in filter(None, (images.data, images.test)) for note in labelled.notes)
    if count := count_shared([*parts[FIT], *parts[SCORES]], parts[TEST]):
        yield f"{count:,} of the images measured are copies of others that fitted: the figures are too optimistic"
    if count := count_shared(parts[FIT], parts[SCORES]):
        yield f"{count:,} of the images that set thresholds are copies of others that fitted: the sets are too small"


@dataclass
class _Runs:
    """Runs of the network on ``total`` images in all, of which ``done`` are."""

    bundle: Bundle
    exif: records.Exif
    sets: records.SetMethod
    total: int
    done: int = 0

    def outputs(
        self, features: Features, items: Sequence[records.Item], activity: str
    ) -> Generator[records.Progress, None, _Outputs]:
        """Run the network on all readable images of ``items``."""
        rows, failures = list[records.Item](), list[records.Failure]()
        draws: list[NDArray[np.float64]] = []
        outputs: list[dict[str, NDArray[np.float32]]] = []
        batches = load_batches(items, self.bundle.card.preprocess, batch_size=BATCH, exif=self.exif)
        for batch, output in features.stream_batches(batches):
            rows += batch.items
            failures += batch.failures
            draws.append(set_draws(batch.pixels, self.sets))
            check_logits(output["logits"])
            outputs.append(output)
            yield records.Progress(activity, self.done + len(rows) + len(failures), self.total)
        self.done += len(items)
        if not rows:
            raise DataError(f"none of the {len(items):,} {activity} can be read", failures[0].error if failures else "")
        values = {name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]}
        labels = np.array([-1 if item.label is None else item.label for item in rows], np.int64)
        return _Outputs(labels, np.concatenate(draws), values, tuple(rows), tuple(failures))


def _check_order(bundle: Bundle, data: LabelledData, engine: records.EngineInfo, before: dict[str, _Outputs]) -> None:
    """Raise DataError if the labels are in another order than the network's classes."""
    outputs = (before[name] for name in (FIT, SCORES))
    scored = [row for part in outputs for row in score_logits(part.items, part.values["logits"], data.present)]
    blank = empty_report(bundle.card, bundle.labels, engine, data)
    check_label_order(accumulate(scored, blank, masked_classes(data)), bundle.labels)


def _measured(
    images: CalibrationImages, temperature: float, sets: records.SetModel, unknown: records.UnknownModel,
    before: dict[str, _Outputs], after: dict[str, _Outputs],
) -> records.Uncertainty:  # fmt: skip
    """Return the calibration with its measurements on the test images."""
    test, calibration, data = after[TEST], after[SCORES], images.data
    logits, labels, _ = test.answered
    promised = conformal.fit_selective(*calibration.answered[:2])
    levels = [level for level in conformal.LEVELS if level <= 1 - 1 / (len(calibration.labels) + 1)]
    return records.Uncertainty(
        data.name, data.sha256, (images.test or data).name,
        len(after[FIT].labels), len(calibration.labels), len(labels),
        temperature, reliability(*before[TEST].answered[:2]), reliability(logits, labels), sets,
        tuple(conformal.measure_sets(sets, level, test.answered) for level in levels),
        tuple(conformal.measure_selective(*promise, logits, labels) for promise in promised if np.isfinite(promise[1])),
        unknown, int((_p_values(unknown, after) < unknown.refused).sum()),
    )  # fmt: skip
