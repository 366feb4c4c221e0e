"""What becomes of whole batches once they are cropped: colours, boxes blotted out, images mixed with each other."""

from __future__ import annotations

import torch
from torch import Tensor

from wideresnet.training.augment import random_boxes

GREY = (0.299, 0.587, 0.114)                       # ITU-R 601, as Pillow's
ERASED, ERASED_RATIO = (0.02, 1 / 3), (0.3, 3.3)   # of Zhong et al., arXiv 1708.04896


def jitter(planes: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation times 1 ± up to ``strength``, an image: float [B, 3, H, W] in 0..255."""
    factors = 1 + strength * (2 * torch.rand(3, len(planes), 1, 1, 1, generator=generator) - 1)
    return saturated(contrasted(planes * factors[0], factors[1]), factors[2]).clamp(0, 255)


def contrasted(planes: Tensor, factor: Tensor) -> Tensor:
    """Distances from the image's mean grey times ``factor`` [B, 1, 1, 1]."""
    return torch.lerp(grey(planes).mean((2, 3), keepdim=True), planes, factor)


def saturated(planes: Tensor, factor: Tensor) -> Tensor:
    """Distances from each pixel's own grey times ``factor`` [B, 1, 1, 1]."""
    return torch.lerp(grey(planes).expand_as(planes), planes, factor.expand_as(planes))


def grey(planes: Tensor) -> Tensor:
    """Float [B, 3, H, W] -> [B, 1, H, W]."""
    return (planes * torch.tensor(GREY).view(3, 1, 1)).sum(1, keepdim=True)


def erase(planes: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A random box of a ``share`` of all images at 0, which is the mean of normalised ones: float [B, 3, H, W]."""
    boxes = random_boxes(len(planes), ERASED, ERASED_RATIO, generator)
    hit = torch.rand(len(planes), generator=generator) < share
    inside = hit[:, None, None] & inside_boxes(boxes, planes.shape[2], planes.shape[3])
    return planes.masked_fill(inside[:, None], 0.0)


def inside_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes as of ``random_boxes`` -> which pixels have their middle inside: bool [B, height, width]."""
    down, across = ((torch.arange(length) + 0.5) / length for length in (height, width))
    rows = (down >= boxes[:, :1]) & (down < boxes[:, :1] + boxes[:, 2:3])
    columns = (across >= boxes[:, 1:2]) & (across < boxes[:, 1:2] + boxes[:, 3:])
    return rows[:, :, None] & columns[:, None, :]


def mixup(planes: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each image [B, 3, H, W] and its target [B, C] blended with another's, by a share from Beta(alpha, alpha).

    (Zhang et al., arXiv 1710.09412; a share of its own for each image.)
    """
    share = beta(alpha, len(planes), generator)
    partner = torch.randperm(len(planes), generator=generator)
    images = torch.lerp(planes[partner], planes, share.view(-1, 1, 1, 1))
    return images, torch.lerp(targets[partner], targets, share.view(-1, 1))


def cutmix(planes: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A box of each image taken from another, and the targets blended by its area (Yun et al., arXiv 1905.04899)."""
    side = (1 - beta(alpha, len(planes), generator)).sqrt()
    corner = torch.rand(len(planes), 2, generator=generator) * (1 - side[:, None])
    boxes = torch.cat((corner, side[:, None], side[:, None]), 1)
    partner = torch.randperm(len(planes), generator=generator)
    inside = inside_boxes(boxes, planes.shape[2], planes.shape[3])
    share = inside.float().mean((1, 2))            # the area in whole pixels
    images = torch.where(inside[:, None], planes[partner], planes)
    return images, torch.lerp(targets, targets[partner], share.view(-1, 1))


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """``count`` numbers of Beta(alpha, alpha), alpha at least 0.01; torch's own distribution takes no generator."""
    gammas = torch._standard_gamma(torch.full((2, count), alpha, dtype=torch.float64), generator)
    return (gammas[0] / gammas.sum(0)).float()
