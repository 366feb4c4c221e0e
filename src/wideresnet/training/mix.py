"""Augmentation of cropped batches: colour jitter, random erasing, Cutout, mixup and CutMix.

Random numbers are drawn on the CPU, so that they are the same everywhere; the rest is computed where the images are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wideresnet.training.augment import random_boxes

LUMA = (0.299, 0.587, 0.114)                       # ITU-R 601, as in Pillow
# Of erased boxes: torchvision's area, and that of Zhong et al. (arXiv 1708.04896) for CIFAR; the width over height.
ERASED_AREA, ERASED_AREA_OF_CIFAR, ERASED_RATIO = (0.02, 1 / 3), (0.02, 0.4), (0.3, 3.3)


def jitter(planes: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each image's brightness, contrast and saturation by 1 ± up to ``strength``.

    Float [B, 3, H, W] in 0..255 -> the same.
    """
    factors = (1 + strength * (2 * torch.rand(3, len(planes), 1, 1, 1, generator=generator) - 1)).to(planes.device)
    return adjust_saturation(adjust_contrast(planes * factors[0], factors[1]), factors[2]).clamp(0, 255)


def adjust_contrast(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply differences from each image's mean grey by ``factor`` [B, 1, 1, 1]."""
    return torch.lerp(grey(planes).mean((2, 3), keepdim=True), planes, factor)


def adjust_saturation(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply differences from each pixel's grey by ``factor`` [B, 1, 1, 1]."""
    return torch.lerp(grey(planes).expand_as(planes), planes, factor.expand_as(planes))


def grey(planes: Tensor) -> Tensor:
    """Return the luma of float [B, 3, H, W]: [B, 1, H, W]."""
    return (planes * torch.tensor(LUMA, device=planes.device).view(3, 1, 1)).sum(1, keepdim=True)


def erase(
    planes: Tensor, probability: float, generator: torch.Generator, area: tuple[float, float] = ERASED_AREA,
    fill: float | Tensor = 0.0,
) -> Tensor:  # fmt: skip
    """Set a random box of each image to ``fill``, the mean, with ``probability`` (Zhong et al., arXiv 1708.04896).

    Float [B, 3, H, W]. ``area``: the smallest and largest fraction of the image; ``fill`` has one value or is
    [3, 1, 1]. The paper's variant RE-M: its RE-R fills with noise.
    """
    boxes = random_boxes(len(planes), area, ERASED_RATIO, generator)
    is_erased = torch.rand(len(planes), generator=generator) < probability
    inside = is_erased[:, None, None] & inside_boxes(boxes, planes.shape[2], planes.shape[3])
    return torch.where(inside[:, None].to(planes.device), fill, planes)


def cutout(planes: Tensor, side: int, generator: torch.Generator, fill: float | Tensor = 0.0) -> Tensor:
    """Set a square of ``side`` pixels of each image to ``fill``, the mean: float [B, 3, H, W].

    As DeVries & Taylor (arXiv 1708.04552): the centre is uniform over the pixels, and what leaves the image is cut off.
    """
    height, width = planes.shape[2:]
    corners = [torch.randint(length, (len(planes), 1), generator=generator) - side // 2 for length in (height, width)]
    rows, columns = (
        (torch.arange(length) >= corner) & (torch.arange(length) < corner + side)
        for corner, length in zip(corners, (height, width), strict=True)
    )
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(inside.to(planes.device), fill, planes)


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return which pixel centres are inside each box of ``random_boxes``: bool [B, height, width]."""
    y, x = ((torch.arange(length) + 0.5) / length for length in (height, width))
    rows = (y >= boxes[:, :1]) & (y < boxes[:, :1] + boxes[:, 2:3])
    columns = (x >= boxes[:, 1:2]) & (x < boxes[:, 1:2] + boxes[:, 3:])
    return rows[:, :, None] & columns[:, None, :]


def mixup(planes: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend images [B, 3, H, W] and targets [B, C] in random pairs (Zhang et al., arXiv 1710.09412).

    The weight is drawn from Beta(alpha, alpha) for each image.
    """
    weight = sample_beta(alpha, len(planes), generator).to(planes.device)
    partner = torch.randperm(len(planes), generator=generator).to(planes.device)
    images = torch.lerp(planes[partner], planes, weight.view(-1, 1, 1, 1))
    return images, torch.lerp(targets[partner], targets, weight.view(-1, 1))


def cutmix(planes: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a box of each image by another's and blend targets by its area (Yun et al., arXiv 1905.04899)."""
    side = (1 - sample_beta(alpha, len(planes), generator)).sqrt()
    corner = torch.rand(len(planes), 2, generator=generator) * (1 - side[:, None])
    boxes = torch.cat((corner, side[:, None], side[:, None]), 1)
    partner = torch.randperm(len(planes), generator=generator).to(planes.device)
    inside = inside_boxes(boxes, planes.shape[2], planes.shape[3]).to(planes.device)
    area = inside.float().mean((1, 2))             # in pixels that were replaced
    images = torch.where(inside[:, None], planes[partner], planes)
    return images, torch.lerp(targets, targets[partner], area.view(-1, 1))


def sample_beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` numbers from Beta(alpha, alpha), alpha >= 0.01; torch's distribution takes no generator."""
    gammas = torch._standard_gamma(torch.full((2, count), alpha, dtype=torch.float64), generator)
    return (gammas[0] / gammas.sum(0)).float()
