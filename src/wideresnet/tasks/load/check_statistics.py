"""The check of an assumed normalisation against the statistics that a file's first norm remembers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wideresnet.bundle import Bundle
from wideresnet.datasets.sample import balanced_sample
from wideresnet.images.loader import load_batches
from wideresnet.records.images import Batch, Exif, Item, Preprocess
from wideresnet.report.formats import rgb_text
from wideresnet.weights.stem import rank_normalisations

IMAGES = 256
TIMES = 3.0                                        # so much better another convention must fit to be named


def statistics_warning(bundle: Bundle, items: Sequence[Item], exif: Exif = "ignore") -> tuple[str, ...]:
    """Return a warning where ordinary images fit another normalisation much better than the one of a weights file.

    Of ``items`` a few are read. Empty for bundles and other models, which do not have the statistics of training.
    """
    spec = bundle.card.preprocess
    if bundle.stem is None:
        return ()
    crops = sample_batch(items, spec, IMAGES, exif).pixels
    if not len(crops):
        return ("no image could be read to check the normalisation with",)
    fits = rank_normalisations(bundle.stem, crops, {"": (spec.mean, spec.std)})
    best = min(fits, key=lambda name: fits[name])
    times = fits[""] / max(fits[best], 1 / len(crops))
    if times < TIMES:
        return ()
    return (
        f"the statistics of the first batch norm fit pixels normalised as {best} {times:.1f} times better than with"
        f" mean {rgb_text(spec.mean)}, std {rgb_text(spec.std)}: try --normalise {best}, or ask 'wrn identify'",
    )


def sample_batch(items: Sequence[Item], spec: Preprocess, count: int, exif: Exif = "ignore") -> Batch:
    """Return at most ``count`` of the images as one batch, as many of each class; see ``balanced_sample``."""
    batches = load_batches(balanced_sample(items, count), spec, batch_size=count, exif=exif)
    return next(batches, Batch(np.empty((0, spec.crop, spec.crop, 3), np.uint8), ()))
