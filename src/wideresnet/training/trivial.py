"""TrivialAugment (Müller & Hutter, arXiv 2103.10158) on whole batches: one operation of random strength an image.

Its "wide" space without "equalize", which would need a histogram of each image. Operations take float
[B, 3, H, W] in 0..255 and strengths [B, 1, 1, 1] in -1..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.training.mix import contrasted, saturated

MOST = 0.99                                        # of colours and shears
FAR = 2 * 32 / 224                                 # of translations, in halves of the side
TURN = math.radians(135)


def trivial_augment(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Float [B, 3, H, W] in 0..255 -> the same, each image changed by one of ``OPERATIONS``."""
    chosen = torch.randint(len(OPERATIONS), (len(planes),), generator=generator)
    strengths = 2 * torch.rand(len(planes), 1, 1, 1, generator=generator) - 1
    result = planes.clone()
    for number, operation in enumerate(OPERATIONS):
        rows = (chosen == number).nonzero()[:, 0]
        if len(rows):
            result[rows] = operation(planes[rows], strengths[rows]).clamp(0, 255)
    return result


def _same(planes: Tensor, _strength: Tensor) -> Tensor:
    return planes


def _brightness(planes: Tensor, strength: Tensor) -> Tensor:
    return planes * (1 + MOST * strength)


def _contrast(planes: Tensor, strength: Tensor) -> Tensor:
    return contrasted(planes, 1 + MOST * strength)


def _colour(planes: Tensor, strength: Tensor) -> Tensor:
    return saturated(planes, 1 + MOST * strength)


def _sharpness(planes: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]).div(13).expand(3, 1, 3, 3)
    smooth = F.conv2d(F.pad(planes, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    return torch.lerp(smooth, planes, (1 + MOST * strength).expand_as(planes))


def _posterise(planes: Tensor, strength: Tensor) -> Tensor:
    step = 2 ** (6 * strength.abs()).round()       # 8 bits down to 2
    return torch.floor(planes / step) * step


def _solarise(planes: Tensor, strength: Tensor) -> Tensor:
    return torch.where(planes >= 255 * (1 - strength.abs()), 255 - planes, planes)


def _autocontrast(planes: Tensor, _strength: Tensor) -> Tensor:
    least, most = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    return torch.where(most > least, (planes - least) * 255 / (most - least).clamp(min=1e-6), planes)


def _shear_x(planes: Tensor, strength: Tensor) -> Tensor:
    return _moved(planes, strength, lambda s: [[1, MOST * s, 0], [0, 1, 0]])


def _shear_y(planes: Tensor, strength: Tensor) -> Tensor:
    return _moved(planes, strength, lambda s: [[1, 0, 0], [MOST * s, 1, 0]])


def _translate_x(planes: Tensor, strength: Tensor) -> Tensor:
    return _moved(planes, strength, lambda s: [[1, 0, FAR * s], [0, 1, 0]])


def _translate_y(planes: Tensor, strength: Tensor) -> Tensor:
    return _moved(planes, strength, lambda s: [[1, 0, 0], [0, 1, FAR * s]])


def _rotate(planes: Tensor, strength: Tensor) -> Tensor:
    return _moved(
        planes, TURN * strength, lambda angle: [[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0]]
    )


def _moved(planes: Tensor, strength: Tensor, matrix: Callable[[Tensor], list[list[Tensor | float]]]) -> Tensor:
    """Images under an affine map of the square from -1 to 1, black where it looks outside."""
    flat = strength.view(-1)
    rows = [torch.stack([torch.zeros_like(flat) + cell for cell in row], 1) for row in matrix(flat)]
    grid = F.affine_grid(torch.stack(rows, 1), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, align_corners=False)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _same, _brightness, _contrast, _colour, _sharpness, _posterise, _solarise, _autocontrast,
    _shear_x, _shear_y, _translate_x, _translate_y, _rotate,
)  # fmt: skip
