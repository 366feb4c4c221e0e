"""Augmentation of whole batches as tensor arithmetic: no Python per picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.records import RGB


def reflect_pad(images: Tensor, padding: int) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, H + 2p, W + 2p, C], mirrored at the border without repeating it."""

    def mirrored(length: int) -> Tensor:
        position = torch.arange(-padding, length + padding).abs()
        return torch.minimum(position, 2 * (length - 1) - position)

    _, height, width, _ = images.shape
    return images[:, mirrored(height)][:, :, mirrored(width)]


def crop_and_flip(padded: Tensor, chosen: Tensor, corners: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cut and mirror pictures ``chosen`` [B] of ``padded`` uint8 [N, H, W, C] in one gather.

    ``corners`` [B, 2] holds the top and left of each cut, ``flipped`` bool [B] which ones are mirrored.
    Returns uint8 [B, size, size, C].
    """
    along = torch.arange(size)
    rows = corners[:, :1] + along                                       # [B, size]
    columns = corners[:, 1:] + torch.where(flipped[:, None], along.flip(0), along)
    return padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def flips(mode: str, base: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    """Which of all N pictures are mirrored in ``epoch``: bool [N].

    "alternating" mirrors a fixed random half in even epochs and the other half in odd ones, so that two
    epochs in a row never show a picture the same way round (Jordan, arXiv 2404.00498). ``base``: bool [N].
    """
    if mode == "alternating":
        return base ^ bool(epoch % 2)
    if mode == "random":
        return torch.rand(len(base), generator=generator) < 0.5
    return torch.zeros_like(base)


def normalise(images: Tensor, mean: RGB, std: RGB, size: int) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, size, size] in channels-last memory.

    ``mean`` and ``std`` are of values in [0, 1]; another ``size`` than H is an antialiased resize.
    """
    x = images.permute(0, 3, 1, 2).float()
    x = (x - 255 * torch.tensor(mean).view(3, 1, 1)) / (255 * torch.tensor(std).view(3, 1, 1))
    if size != x.shape[-1]:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)
