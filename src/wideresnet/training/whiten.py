"""Global contrast normalisation and ZCA whitening, as the paper's first version prepared CIFAR.

The author used pylearn2's ``make_cifar10_gcn_whitened``, with these numbers. Every whitened value depends on all
3,072 of its image, so that the graphs written here, which know a mean and a deviation a colour, cannot hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CONTRAST = 55.0                                    # the length of an image as a vector afterwards
BIAS = 0.1                                         # added to each variance, so that noise is not blown up
SMALLEST = 1e-8                                    # length of an image that counts as one: a plain one stays black
TOGETHER = 2000                                    # images at a time


@dataclass(frozen=True, eq=False)
class Whitening:
    """The mean and the map of whitened images of one size, float32 [D] and [D, D] with D = S · S · 3."""

    mean: Tensor
    turn: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [N, S, S, 3] -> float32 of the same shape."""
        parts = [(contrasted(some) - self.mean) @ self.turn for some in torch.split(images, TOGETHER)]
        return torch.cat(parts).view(images.shape)


def fit_whitening(images: Tensor) -> Whitening:
    """The whitening of training images uint8 [N, S, S, 3]; half a minute for 50,000 of 32 pixels."""
    values = images[0].numel()
    total, squares = torch.zeros(values, dtype=torch.float64), torch.zeros(values, values, dtype=torch.float64)
    for some in torch.split(images, TOGETHER):
        flat = contrasted(some)
        total += flat.sum(0, dtype=torch.float64)
        squares += flat.T @ flat
    mean = total / len(images)
    variances, axes = torch.linalg.eigh(squares / len(images) - torch.outer(mean, mean))
    turn = (axes * (variances.clamp(min=0) + BIAS).rsqrt()) @ axes.T
    return Whitening(mean.float(), turn.float())


def contrasted(images: Tensor) -> Tensor:
    """uint8 [N, S, S, 3] -> float32 [N, D]: each image without its mean, and ``CONTRAST`` long."""
    flat = images.flatten(1).float()
    flat = flat - flat.mean(1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True) / CONTRAST
    return flat / torch.where(length < SMALLEST, 1.0, length)
