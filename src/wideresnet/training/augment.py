"""Augmentation of whole batches as tensor arithmetic: no Python per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.records import RGB


def reflect_pad(images: Tensor, padding: int) -> Tensor:
    """uint8 [N, H, W, C] -> uint8 [N, H + 2p, W + 2p, C], mirrored at the border without repeating it."""
    if not padding:
        return images

    def mirrored(length: int) -> Tensor:
        position = torch.arange(-padding, length + padding).abs()
        return torch.minimum(position, 2 * (length - 1) - position)

    _, height, width, _ = images.shape
    return images[:, mirrored(height)][:, :, mirrored(width)]


def crop_and_flip(padded: Tensor, chosen: Tensor, corners: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cut and mirror images ``chosen`` [B] of ``padded`` uint8 [N, H, W, C] in one gather.

    ``corners`` [B, 2] holds the top and left of each cut, ``flipped`` bool [B] which ones are mirrored.
    Returns uint8 [B, size, size, C].
    """
    along = torch.arange(size)
    rows = corners[:, :1] + along                                       # [B, size]
    columns = corners[:, 1:] + torch.where(flipped[:, None], along.flip(0), along)
    return padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]


def flips(mode: str, base: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    """Which of all N images are mirrored in ``epoch``: bool [N].

    "alternating" mirrors a fixed random half in even epochs and the other half in odd ones, so that two
    epochs in a row never show an image the same way round (Jordan, arXiv 2404.00498). ``base``: bool [N].
    """
    if mode == "alternating":
        return base ^ bool(epoch % 2)
    if mode == "random":
        return torch.rand(len(base), generator=generator) < 0.5
    return torch.zeros_like(base)


def random_boxes(
    count: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Parts of square images as "random resized crop" draws them: float32 [count, 4].

    A row is top, left, height, width as fractions of the image. The area is uniform in ``scale``, the logarithm
    of width over height uniform in that of ``ratio``; a side that would not fit is cut to the image's (torchvision
    draws again instead).
    """
    area, shape, down, right = torch.rand(4, count, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    low, high = torch.tensor(ratio).log()
    stretch = torch.exp((low + (high - low) * shape) / 2)
    height = (area.sqrt() / stretch).clamp(max=1)
    width = (area.sqrt() * stretch).clamp(max=1)
    return torch.stack((down * (1 - height), right * (1 - width), height, width), 1)


def crop_and_resize(images: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Cut ``boxes`` out of images and resize them, antialiased: uint8 [B, S, S, C] -> float32 [B, C, size, size].

    ``boxes`` is as from ``random_boxes``, ``flipped`` bool [B] says which results are mirrored. Rows and columns
    are resized apart, each by one matrix an image; the box of the whole image gives ``F.interpolate``'s resize.
    """
    rows = resize_matrix(boxes[:, 0], boxes[:, 2], images.shape[1], size)
    columns = resize_matrix(boxes[:, 1], boxes[:, 3], images.shape[2], size)
    columns = torch.where(flipped[:, None, None], columns.flip(1), columns)
    planes = images.permute(0, 3, 1, 2).float()
    return rows[:, None] @ planes @ columns.transpose(1, 2)[:, None]


def resize_matrix(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """Bilinear, antialiased weights along one axis: float32 [B, size, source], every row adds up to 1.

    Row i makes value i of ``size`` from the ``source`` values of the image, of which the part from ``start`` [B]
    on, ``length`` [B] long (fractions), is resized. As in Pillow, the triangle widens where the image shrinks.
    """
    step = length[:, None, None] * source / size                        # source pixels a result pixel
    centres = start[:, None, None] * source + (torch.arange(size)[:, None] + 0.5) * step
    distance = (torch.arange(source) + 0.5 - centres).abs()
    weights = (1 - distance / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)


def normalise(images: Tensor, mean: RGB, std: RGB, size: int) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, size, size] in channels-last memory.

    ``mean`` and ``std`` are of values in [0, 1]; another ``size`` than H is an antialiased resize.
    """
    x = standardise(images.permute(0, 3, 1, 2).float(), mean, std)
    if size != x.shape[-1]:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def standardise(planes: Tensor, mean: RGB, std: RGB) -> Tensor:
    """Float [B, 3, H, W] in 0..255 -> the same with ``mean`` and ``std`` (of values in [0, 1]) taken out."""
    return (planes - 255 * torch.tensor(mean).view(3, 1, 1)) / (255 * torch.tensor(std).view(3, 1, 1))
