"""Statistics of a network's first norm, which show how its training images were normalised.

A batch norm keeps mean and variance of what it saw in training. After the first convolution these depend on the
normalisation of the pixels alone, so that ordinary images show a wrong one without labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.datasets.statistics import NORMALISATIONS
from wideresnet.records.images import Normalisation

WORST = 9.0                                        # of a channel's mismatch: a few dead channels decide nothing
ALIASES = ("none", "cifar10-paper")                # names of values that no statistics tell from another's


@dataclass(frozen=True, eq=False)
class Stem:
    """The first convolution, weight [C, 3, k, k] and bias [C], and the running statistics [C] of the norm after it."""

    weight: NDArray[Any]
    bias: NDArray[Any]
    mean: NDArray[Any]
    variance: NDArray[Any]
    stride: int

    def mismatch(self, images: NDArray[np.uint8], normalisation: Normalisation) -> float:
        """Return how far the statistics on ``images``, RGB [N, S, S, 3], are from those of training; 0: equal.

        Per channel the squared difference of means over the variance, plus the squared log ratio of variances.
        """
        mean, std = np.asarray(normalisation, np.float32)
        kernel = self.weight.shape[-1]
        pad = kernel // 2
        x = np.pad((images / np.float32(255) - mean) / std, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
        y = np.tensordot(windows[:, :: self.stride, :: self.stride], self.weight, ((3, 4, 5), (1, 2, 3)))
        y = y.reshape(-1, len(self.weight)) + self.bias
        return mismatch(y.mean(0) - self.mean, y.var(0), self.variance)


def mismatch(shift: NDArray[Any], variance: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the mean over channels of shift² / expected + log(variance / expected)²; all [C]."""
    floor = np.float32(1e-8)
    expected = expected + floor
    terms = shift**2 / expected + np.log((np.maximum(variance, 0) + floor) / expected) ** 2
    return float(np.minimum(terms, WORST).mean())


def stem_of(architecture: Architecture, tensors: Mapping[str, NDArray[Any]]) -> Stem:
    """Return the stem of a network from its tensors."""
    norm = "bn1" if "bn1.weight" in tensors else "layer1.0.bn1"
    weight = tensors["conv1.weight"]
    bias = tensors.get("conv1.bias", np.zeros(len(weight), np.float32))
    mean, variance = (tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var"))
    return Stem(weight, bias, mean, variance, 1 if architecture.family == "cifar" else 2)


def rank_normalisations(
    stem: Stem, images: NDArray[np.uint8], stated: Mapping[str, Normalisation] | None = None
) -> dict[str, float]:
    """Return the mismatch of every known normalisation and of ``stated`` ones by name, best first.

    Training often pads images with black and crops them again, so that the better of both kinds counts.
    """
    kinds = [images, padded_crops(images)]
    candidates = {name: values for name, values in NORMALISATIONS.items() if name not in ALIASES} | dict(stated or {})
    fits = {name: min(stem.mismatch(kind, values) for kind in kinds) for name, values in candidates.items()}
    return dict(sorted(fits.items(), key=lambda fit: fit[1]))


def padded_crops(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images with an eighth of the side of black around them, cropped at random, always the same."""
    count, side = images.shape[:2]
    pad = side // 8
    black = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    offsets = np.random.Generator(np.random.PCG64(0)).integers(0, 2 * pad + 1, (count, 2))
    return np.stack([image[y : y + side, x : x + side] for image, (y, x) in zip(black, offsets, strict=True)])
