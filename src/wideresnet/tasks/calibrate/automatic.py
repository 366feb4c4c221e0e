"""Calibration as the last step of a compilation or a fine-tuning, with labelled images that decided nothing before."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

from wideresnet.bundle import Bundle, read_bundle
from wideresnet.bundle.derive import DROPPED
from wideresnet.bundle.files import GRAPH
from wideresnet.datasets.labelled import LabelledData
from wideresnet.errors import BundleError, DataError
from wideresnet.prediction_sets import fewest_to_refuse
from wideresnet.records import CompileReport, Item, Progress
from wideresnet.report.formats import percent
from wideresnet.tasks.calibrate.calibrate import CalibrateSettings, CalibrationImages, calibrate_bundle
from wideresnet.tasks.evaluate.training_images import choosing_images
from wideresnet.tasks.quantize import calibration_data
from wideresnet.tasks.quantize import compile as compilation

PART = 5                                           # every fifth labelled image of a class calibrates instead
FEWEST = 4 * fewest_to_refuse(CalibrateSettings().refused)


def compile_calibrated(
    bundle: Bundle, settings: compilation.CompileSettings, folder: Path
) -> Generator[Progress, None, CompileReport]:
    """Compile as ``compile_model`` does, then calibrate with every fifth image of a class, left out of the gate.

    A bundle that fails its gate is not calibrated.
    """
    images, data = _set_aside(bundle, settings)
    report = yield from compilation.compile_model(bundle, replace(settings, images=images), folder)
    if report.gate and report.gate.verdict == "failed":
        note = f"not calibrated: it failed its gate; wrn calibrate -m {folder} --data LABELLED -o BUNDLE"
        return replace(report, notes=(*report.notes, note))
    both = settings.data if settings.data and calibration_data.holds_both_sets(settings.data, bundle.labels) else None
    path = settings.calibration or both
    bank = calibration_data.calibration_pool(path, bundle.labels).items if path else ()
    reason = f"that takes {PART * FEWEST:,} labelled images of --data, which chose nothing before"
    note = yield from calibrate_in_place(folder, data, bank, reason)
    notes = [text for text in report.notes if text != DROPPED or note.startswith("not ")]
    return replace(report, notes=(*notes, note), size_bytes=(folder / GRAPH).stat().st_size)


def calibrate_in_place(
    folder: Path, data: LabelledData | None, bank: Sequence[Item], reason: str
) -> Generator[Progress, None, str]:
    """Calibrate the bundle in ``folder``; return what was done, or why not (``reason`` without data) and what to do."""
    try:
        if data is None:
            raise DataError(reason)
        upright = replace(data, exif="transpose")  # as photographs are classified
        images = CalibrationImages(upright, bank=bank, bank_name="those that it was made with")
        report = yield from calibrate_bundle(read_bundle(folder), images, CalibrateSettings(), folder)
    except (DataError, BundleError) as error:
        return f"not calibrated: {error.message}; wrn calibrate -m {folder} --data LABELLED -o BUNDLE"
    model = report.uncertainty
    errors = " -> ".join(percent(quality.ece, 2) for quality in (model.before, model.after))
    used = f"{model.n_fit + model.n_scores:,} images of {data.name} that decided nothing else"
    measured = f"calibrated with {used}; on {model.n_test:,} others the calibration error is {errors}"
    return "; ".join([measured, *(note for note in report.notes if note not in data.notes)])


def _set_aside(
    bundle: Bundle, settings: compilation.CompileSettings
) -> tuple[calibration_data.GateImages | None, LabelledData | None]:
    """Return the images of the gate, and those of them that calibrate instead.

    None calibrate that chose the weights, and none if the others are too few.
    """
    if settings.data is None:
        return None, None
    try:
        images = calibration_data.open_gate_images(settings.data, bundle)
    except DataError:                              # the compilation raises it again
        return None, None
    parent, chose = replace(images.data, exif="transpose"), set(map(id, choosing_images(bundle, images.items)))
    ordered = sorted(images.items, key=lambda item: item.label or 0)
    chosen = [item for item in ordered if id(item) not in chose][PART - 1 :: PART]
    if len(chosen) < FEWEST or any(item.label is None for item in images.items):
        return images, None
    reserved = {item.path for item in chosen}
    remaining = [item for item in images.items if item.path not in reserved]
    return replace(images, items=remaining), replace(parent, items=chosen, parent=parent)
