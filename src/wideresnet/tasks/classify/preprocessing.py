"""What a network sees of an image."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, did_you_mean
from wideresnet.images.loader import load_crop
from wideresnet.records import Alpha, Exif, Preprocess
from wideresnet.tasks.load.describe import describe
from wideresnet.tasks.load.load import AssumptionWarning, assumptions

# Transforms that belong to no weights here. "squash256" loses the aspect ratio, as the zoo's own scripts do.
TRANSFORMS = {"squash256": Preprocess(resize=256, crop=224, mode="squash")}


def preprocess(
    image: str | Path | bytes,
    model: str,
    *,
    transform: str | None = None,
    exif: Exif = "ignore",
    alpha: Alpha | None = None,
) -> NDArray[np.uint8]:
    """The crop that ``model`` (a tag, a bundle, an architecture) gets to see: RGB uint8 [S, S, 3] in 0..255.

    ``transform`` names one of ``TRANSFORMS`` to use instead of the model's own. EXIF orientation is ignored
    unless asked for, as in published evaluations. ``alpha`` "white" lays transparent images on white, "drop" drops
    the transparency; None: as the model's card says. Raises ImageError or ConfigError.
    """
    if transform is None:
        info = describe(model)
        spec = info.preprocess
        if info.assumed:
            warnings.warn(assumptions(model, info.assumed), AssumptionWarning, stacklevel=2)
    elif transform in TRANSFORMS:
        spec = TRANSFORMS[transform]
    else:
        hint = did_you_mean(transform, TRANSFORMS) or f"known: {', '.join(TRANSFORMS)}"
        raise ConfigError(f"no transform called {transform!r}", hint=hint)
    return load_crop(image, replace(spec, alpha=alpha or spec.alpha), exif=exif)
