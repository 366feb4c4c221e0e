"""Warnings of an evaluation: its images trained or calibrated the model, or are unlike those that it expects."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wideresnet.bundle import Bundle
from wideresnet.datasets.ground_truth import read_ground_truth
from wideresnet.datasets.labelled import LabelledData
from wideresnet.datasets.orientation import orientation_notes
from wideresnet.errors import DataError
from wideresnet.records import Cascade, EvalReport, Item, ModelCard
from wideresnet.tasks.load.check_statistics import statistics_warning


def run_indices(bundle: Bundle) -> tuple[Path, Path] | None:
    """Return train.csv and val.csv of the run folder that ``bundle`` is in; None if it is in no folder of its run."""
    hashes = [bundle.card.notes.get(f"{part} data hash") for part in ("train", "val")]
    if bundle.folder is None or None in hashes:
        return None
    run = bundle.folder.resolve().parent
    try:
        identity = json.loads((run / "run.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    is_own = isinstance(identity, dict) and hashes == [identity.get("train"), identity.get("val")]
    return (run / "train.csv", run / "val.csv") if is_own else None


def training_images(bundle: Bundle, items: Sequence[Item]) -> list[Item]:
    """Return the ``items`` that the network was trained on: the set on its card, or those that its run folder lists.

    Of a cascade those of the member that was trained on most.
    """
    if bundle.members:
        return max((training_images(member, items) for member in bundle.members), key=len)
    return _images_of_run(bundle, items, "train")


def choosing_images(bundle: Bundle, items: Sequence[Item]) -> list[Item]:
    """Return the ``items`` that chose the epoch of a fine-tuned network; see ``training_images``. A probe has none."""
    if bundle.members:
        return max((choosing_images(member, items) for member in bundle.members), key=len)
    is_full = bundle.card.notes.get("fine-tuned", "").startswith("full")
    return _images_of_run(bundle, items, "val") if is_full else []


def _images_of_run(bundle: Bundle, items: Sequence[Item], part: Literal["train", "val"]) -> list[Item]:
    sha256 = bundle.card.notes.get(f"{part} data hash")
    if sha256 and sha256 == LabelledData("", items, bundle.card.classes).sha256:
        return list(items)
    paths = set[str]()
    if indices := run_indices(bundle):
        with suppress(DataError):                  # an index that was removed or changed
            paths.update(map(os.path.realpath, read_ground_truth(indices[part == "val"], bundle.labels).rows))
    # Some Parquet files hold names that images of another one may have, too.
    own = (item for item in items if paths and item.path.startswith(getattr(item.source, "path", "")))
    return [item for item in own if os.path.realpath(item.path) in paths]


def training_warning(bundle: Bundle, items: Sequence[Item]) -> tuple[str, ...]:
    """Return sentences if there are training images, or images that chose the epoch, among ``items``."""
    name, of_all, lower = bundle.card.name, f"of the {len(items):,} images", "its accuracy on new images is likely"
    trained, chose = len(training_images(bundle, items)), len(choosing_images(bundle, items))
    sentences = (f"{name} was trained on {trained:,} {of_all}: {lower} lower",) if trained else ()
    return *sentences, *((f"{chose:,} {of_all} chose the epoch of {name}: {lower} somewhat lower",) if chose else ())


def with_warnings(blank: EvalReport, bundle: Bundle, data: LabelledData) -> EvalReport:
    """Return an empty report on ``data`` with warnings of training images, normalisation and EXIF orientations."""
    fit = *statistics_warning(bundle, data.items, data.exif), *orientation_notes(data)
    return replace(blank, notes=(*blank.notes, *training_warning(bundle, data.items), *fit))


def calibration_warning(card: ModelCard, data: LabelledData) -> tuple[str, ...]:
    """Return a sentence if ``data``, or the set that it is a part of, calibrated the model, or chose its rule."""
    record = card.cascade or card.uncertainty
    if record is None or record.data_sha256 != data.sha256:
        return ()
    images = f"of the {len(data.full_set.items):,} images of {data.full_set.name}"
    if isinstance(record, Cascade):
        return (f"{record.n_choice:,} {images} chose the rule of {card.name}: its accuracy is slightly optimistic",)
    count = f"{record.n_fit + record.n_scores:,} {images}"
    return (f"{count} calibrated {card.name}: coverage and calibration error on them are slightly optimistic",)
