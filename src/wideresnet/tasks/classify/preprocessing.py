"""The preprocessing of one image, by model name or named transform."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wideresnet.classifier import Classifier, input_crop
from wideresnet.datasets.inputs import ImageInput
from wideresnet.errors import check_choice
from wideresnet.records import Alpha, Exif, Preprocess
from wideresnet.tasks.load.describe import describe
from wideresnet.tasks.load.load import AssumptionWarning, assumptions

# Transforms that belong to no weights here. "squash256" loses the aspect ratio, as the zoo's own scripts do.
TRANSFORMS = {"squash256": Preprocess(resize=256, crop=224, mode="squash")}


def preprocess(
    image: ImageInput,
    model: Classifier | str | Path,
    *,
    transform: str | None = None,
    exif: Exif = "transpose",
    alpha: Alpha | None = None,
) -> NDArray[np.uint8]:
    """Return the crop of one image that ``model`` is given: RGB uint8 [S, S, 3] in 0..255.

    ``image`` is one image of any kind that ``Classifier`` takes; ``model`` an open classifier, a name as for ``load``,
    or an architecture. ``transform`` names one of ``TRANSFORMS`` to use instead. EXIF orientation is applied, as by
    ``classify``, unless ``exif`` is "ignore", as in evaluations. ``alpha`` "white" composites transparent images onto
    white, "drop" drops the transparency; None: as the model's card states. Raises ImageError, ConfigError.
    """
    if transform is None and isinstance(model, Classifier):
        spec = model.card.preprocess
    elif transform is None:
        info = describe(str(model))
        spec = info.preprocess
        if info.assumed:
            warnings.warn(assumptions(str(model), info.assumed), AssumptionWarning, stacklevel=2)
    else:
        check_choice("transform", transform, TRANSFORMS)
        spec = TRANSFORMS[transform]
    return input_crop(image, replace(spec, alpha=alpha or spec.alpha), exif)
