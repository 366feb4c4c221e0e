"""Numbers of classes and pixel statistics of the data sets of the recipes."""

from __future__ import annotations

from dataclasses import dataclass

from wideresnet.records import RGB


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
