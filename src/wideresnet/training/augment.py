"""Augmentation of whole batches as tensor arithmetic, without Python code per image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.records import RGB


def to_planes(images: Tensor) -> Tensor:
    """Convert images [N, H, W, C] to float32 planes [N, C, H, W]."""
    return images.permute(0, 3, 1, 2).float()


def reflect_pad(images: Tensor, padding: int) -> Tensor:
    """Mirror images at their borders without repeating the edge: [N, H, W, C] -> [N, H + 2p, W + 2p, C]."""
    if not padding:
        return images

    def sources(length: int) -> Tensor:
        position = torch.arange(-padding, length + padding, device=images.device).abs()
        return torch.minimum(position, 2 * (length - 1) - position)

    _, height, width, _ = images.shape
    return images[:, sources(height)][:, :, sources(width)]


def crop_and_flip(padded: Tensor, rows: Tensor, corners: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Crop and mirror the images ``rows`` int64 [B] of ``padded`` [N, H, W, C] in one gather.

    ``corners`` [B, 2] holds top and left of each crop, ``flipped`` bool [B] which are mirrored.
    Returns [B, size, size, C] of the same dtype.
    """
    offsets = torch.arange(size, device=padded.device)
    lines = corners[:, :1] + offsets                                    # [B, size]
    columns = corners[:, 1:] + torch.where(flipped[:, None], offsets.flip(0), offsets)
    return padded[rows[:, None, None], lines[:, :, None], columns[:, None, :]]


def choose_flips(mode: str, base: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
    """Return which of all N images are mirrored in ``epoch``: bool [N].

    "alternating" mirrors a fixed random half, ``base`` bool [N], in even epochs and the other half in odd ones, so
    that two epochs in a row never show an image in the same orientation (Jordan, arXiv 2404.00498).
    """
    if mode == "alternating":
        return base ^ bool(epoch % 2)
    if mode == "random":
        return torch.rand(len(base), generator=generator) < 0.5
    return torch.zeros_like(base)


def random_boxes(
    count: int, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Tensor:
    """Draw the boxes of "random resized crop" of square images: float32 [count, 4].

    A row is top, left, height, width as fractions of the image. The area is uniform in ``scale``, the logarithm of
    width over height uniform in that of ``ratio``; a side longer than the image is cut to it (torchvision draws
    again instead).
    """
    area, shape, down, right = torch.rand(4, count, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    low, high = torch.tensor(ratio).log()
    stretch = torch.exp((low + (high - low) * shape) / 2)
    height = (area.sqrt() / stretch).clamp(max=1)
    width = (area.sqrt() * stretch).clamp(max=1)
    return torch.stack((down * (1 - height), right * (1 - width), height, width), 1)


def crop_and_resize(images: Tensor, boxes: Tensor, flipped: Tensor, size: int) -> Tensor:
    """Crop images and resize the crops, antialiased: uint8 [B, S, S, C] -> float32 [B, C, size, size].

    ``boxes`` is as from ``random_boxes``; ``flipped`` bool [B] says which results are mirrored. Lines and columns are
    resized separately, by one matrix per image each; for the full image this is ``F.interpolate``.
    """
    lines = resize_matrix(boxes[:, 0], boxes[:, 2], images.shape[1], size)
    columns = resize_matrix(boxes[:, 1], boxes[:, 3], images.shape[2], size)
    columns = torch.where(flipped[:, None, None], columns.flip(1), columns)
    return lines[:, None] @ to_planes(images) @ columns.transpose(1, 2)[:, None]


def resize_matrix(start: Tensor, length: Tensor, source: int, size: int) -> Tensor:
    """Return bilinear, antialiased weights along one axis: float32 [B, size, source]; each row sums to 1.

    Row i computes value i of ``size`` from the ``source`` values of the image, resizing the interval that begins at
    ``start`` [B] and is ``length`` [B] long (fractions). As in Pillow, the triangle widens when the image shrinks.
    """
    step = length[:, None, None] * source / size                        # source pixels per result pixel
    pixels, results = (torch.arange(length, device=start.device) + 0.5 for length in (source, size))
    centres = start[:, None, None] * source + results[:, None] * step
    distance = (pixels - centres).abs()
    weights = (1 - distance / step.clamp(min=1)).clamp(min=0)
    return weights / weights.sum(2, keepdim=True)


def normalise(planes: Tensor, mean: RGB, std: RGB, size: int) -> Tensor:
    """Standardise and resize (antialiased): float [B, 3, H, W] in 0..255 -> channels-last [B, 3, size, size]."""
    x = standardise(planes, mean, std)
    if size != x.shape[-1]:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def standardise(planes: Tensor, mean: RGB, std: RGB) -> Tensor:
    """Subtract ``mean`` and divide by ``std`` (of values in [0, 1]): float [B, 3, H, W] in 0..255 -> the same shape."""
    mean_of, std_of = (255 * torch.tensor(values, device=planes.device).view(3, 1, 1) for values in (mean, std))
    return (planes - mean_of) / std_of
