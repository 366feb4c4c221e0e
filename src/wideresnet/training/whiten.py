"""Global contrast normalisation and ZCA whitening, the preparation of CIFAR in the paper's first version.

The constants are those of pylearn2's ``make_cifar10_gcn_whitened``, which the author used. Every whitened value depends
on all 3,072 values of its image, so exported graphs, which know one mean and deviation per colour, cannot express it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NORM = 55.0                                        # of each image as a vector, after contrast normalisation
BIAS = 0.1                                         # added to each variance, so that noise is not amplified
MIN_NORM = 1e-8                                    # images of a smaller norm are not divided: plain ones stay 0
CHUNK = 2000                                       # images per matrix product


@dataclass(frozen=True, eq=False)
class Whitening:
    """A whitening transform: mean float32 [D] and matrix [D, D], D = S · S · 3."""

    mean: Tensor
    matrix: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Whiten uint8 [N, S, S, 3]: float32 of the same shape."""
        chunks = [(normalise_contrast(chunk) - self.mean) @ self.matrix for chunk in torch.split(images, CHUNK)]
        return torch.cat(chunks).view(images.shape)


def fit_whitening(images: Tensor) -> Whitening:
    """Fit the whitening of training images uint8 [N, S, S, 3]; half a minute for 50,000 of 32 pixels."""
    values = images[0].numel()
    total, squares = torch.zeros(values, dtype=torch.float64), torch.zeros(values, values, dtype=torch.float64)
    for chunk in torch.split(images, CHUNK):
        flat = normalise_contrast(chunk)
        total += flat.sum(0, dtype=torch.float64)
        squares += flat.T @ flat
    mean = total / len(images)
    variances, axes = torch.linalg.eigh(squares / len(images) - torch.outer(mean, mean))
    matrix = (axes * (variances.clamp(min=0) + BIAS).rsqrt()) @ axes.T
    return Whitening(mean.float(), matrix.float())


def normalise_contrast(images: Tensor) -> Tensor:
    """Subtract each image's mean and scale it to norm ``NORM``: uint8 [N, S, S, 3] -> float32 [N, D]."""
    flat = images.flatten(1).float()
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True) / NORM
    return flat / torch.where(length < MIN_NORM, 1.0, length)
