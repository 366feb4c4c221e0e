"""Numbers of classes and pixel statistics of the data sets of the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wideresnet.errors import ConfigError, did_you_mean
from wideresnet.records import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalisation


@dataclass(frozen=True)
class Statistics:
    """``mean`` and ``std`` of RGB values in [0, 1] over the training images."""

    classes: int
    mean: RGB
    std: RGB


# The values of the paper's author (szagoruyko/wide-residual-networks), used for both sets.
_MEAN: RGB = (125.3 / 255, 123.0 / 255, 113.9 / 255)
_STD: RGB = (63.0 / 255, 62.1 / 255, 66.7 / 255)

STATISTICS: dict[str, Statistics] = {
    "cifar10": Statistics(10, _MEAN, _STD),
    "cifar100": Statistics(100, _MEAN, _STD),
    "svhn": Statistics(10, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),      # the paper divides by 255 only
}

# The conventions of public checkpoints, by the names of --normalise. "cifar10-paper" has the values above;
# "cifar10-per-image" has the mean of the deviations within an image in place of the deviation of all pixels.
NORMALISATIONS: dict[str, Normalisation] = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar10-paper": (_MEAN, _STD),
    "cifar10-per-image": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": (
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    ),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),    # values in [-1, 1]
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),    # values in [0, 1]
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),    # the same: nothing after division by 255
    "byte": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),    # values in 0..255
}


def parse_normalisation(text: str) -> Normalisation:
    """Return the statistics that ``text`` names, or states as ``m,m,m/s,s,s``. Raises ConfigError."""
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    return check_normalisation([part.split(",") for part in text.split("/")], text)


def check_normalisation(values: Sequence[Sequence[Any]], text: str = "") -> Normalisation:
    """Return mean and standard deviation as numbers. Raises ConfigError, which shows ``text``, for anything else."""
    try:
        (r, g, b), (u, v, w) = ([float(value) for value in part] for part in values)
    except (TypeError, ValueError):
        names = f"there are {', '.join(NORMALISATIONS)}, and 'm,m,m/s,s,s'"
        hint = (text and did_you_mean(text, NORMALISATIONS)) or names
        raise ConfigError(f"no normalisation called {text or values!r}", hint) from None
    return (r, g, b), (u, v, w)
