"""TrivialAugment (Müller & Hutter, arXiv 2103.10158) and RandAugment (Cubuk et al., arXiv 1909.13719) on batches.

Both apply random operations to each image; TrivialAugment one of random strength, RandAugment several of one strength.
The operations are the same. Their ranges are the first paper's "wide" space, as in torchvision's
``TrivialAugmentWide``; those of RandAugment are torchvision's, smaller by ``RAND_RANGES``. Geometry is by the nearest
pixel. Operations take float planes [B, 3, H, W] in 0..255 and strengths [B, 1, 1, 1] in -1..1; where the papers have no
sign, theirs is ignored. Results may leave the range: ``_apply`` clamps them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.training.mix import adjust_contrast, adjust_saturation

LEVELS = 31                                        # of strength, equally spaced from 0 to the strongest
MAX_ENHANCEMENT = 0.99                             # factors are 1 ± this
MAX_SHEAR = 0.99
MAX_TRANSLATION = 32.0                             # pixels
MAX_ROTATION = math.radians(135)
MAX_LOST_BITS = 6
MAX_RAND_TRANSLATION = 150 / 331                   # of the image's side
# The ranges of RandAugment as fractions of those above; those of other operations are equal.
RAND_RANGES = {
    **dict.fromkeys(("brightness", "contrast", "colour", "sharpness"), 0.9 / MAX_ENHANCEMENT),
    **dict.fromkeys(("shear_x", "shear_y"), 0.3 / MAX_SHEAR),
    "rotate": math.radians(30) / MAX_ROTATION,
    "posterise": 4 / MAX_LOST_BITS,
}

Operation = Callable[[Tensor, Tensor], Tensor]


def trivial_augment(planes: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random operation of ``OPERATIONS`` to each image: float [B, 3, H, W] in 0..255 -> the same."""
    choices = torch.randint(len(OPERATIONS), (len(planes),), generator=generator)
    return _apply(planes, choices, torch.randint(LEVELS, (len(planes), 1, 1, 1), generator=generator), generator)


def rand_augment(planes: Tensor, count: int, level: int, generator: torch.Generator) -> Tensor:
    """Apply ``count`` random operations to each image, one after another: float [B, 3, H, W] in 0..255 -> the same.

    ``level`` of 0 to 30 is their strength, the last the strongest; where it has a sign, that is random.
    """
    ranges = RAND_RANGES | {"translate_x": MAX_RAND_TRANSLATION * planes.shape[3] / MAX_TRANSLATION,
                            "translate_y": MAX_RAND_TRANSLATION * planes.shape[2] / MAX_TRANSLATION}  # fmt: skip
    scales = torch.tensor([ranges.get(name, 1.0) for name in OPERATIONS])
    for _ in range(count):
        choices = torch.randint(len(OPERATIONS), (len(planes),), generator=generator)
        planes = _apply(planes, choices, level * scales[choices].view(-1, 1, 1, 1), generator)
    return planes


def _apply(planes: Tensor, choices: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
    """Apply to each image the operation of its index in ``choices`` [B], with its level [B, 1, 1, 1] and any sign."""
    signs = 2 * torch.randint(2, levels.shape, generator=generator) - 1
    strengths = (signs * levels / (LEVELS - 1)).to(planes.device)
    result = planes.clone()
    for index, operation in enumerate(OPERATIONS.values()):
        rows = (choices == index).nonzero()[:, 0].to(planes.device)
        if len(rows):
            result[rows] = operation(planes[rows], strengths[rows]).clamp(0, 255)
    return result


def _sharpness(planes: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=planes.device).div(13).expand(3, 1, 3, 3)
    smooth = F.conv2d(planes, kernel, padding=1, groups=3)
    smooth[:, :, [0, -1]] = planes[:, :, [0, -1]]                       # Pillow leaves the border as it is
    smooth[:, :, :, [0, -1]] = planes[:, :, :, [0, -1]]
    return torch.lerp(smooth, planes, (1 + MAX_ENHANCEMENT * strength).expand_as(planes))


def _posterise(planes: Tensor, strength: Tensor) -> Tensor:
    step = 2 ** (MAX_LOST_BITS * strength.abs()).round()
    return torch.floor(planes / step) * step


def _autocontrast(planes: Tensor, _strength: Tensor) -> Tensor:
    low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    return torch.where(high > low, (planes - low) * 255 / (high - low).clamp(min=1e-6), planes)


def _equalise(planes: Tensor, _strength: Tensor) -> Tensor:
    """Flatten the histogram of each channel, with Pillow's integer arithmetic."""
    values = planes.round().long().flatten(2)                           # [B, 3, H · W]
    histogram = torch.zeros(*values.shape[:2], 256, dtype=torch.long, device=planes.device)
    histogram.scatter_add_(2, values, torch.ones_like(values))
    brightest = histogram.gather(2, values.amax(2, keepdim=True))
    step = (values.shape[2] - brightest) // 255                         # 0: too few values, nothing to do
    below = histogram.cumsum(2) - histogram
    table = (below + step // 2).div(step.clamp(min=1), rounding_mode="floor").clamp(max=255)
    equalised = table.gather(2, values).view_as(planes).to(planes.dtype)
    return torch.where(step[..., None] > 0, equalised, planes)


def _rotate(planes: Tensor, strength: Tensor) -> Tensor:
    """Rotate about the centre, counter-clockwise for positive strengths."""
    y, x = planes.shape[2] / 2, planes.shape[3] / 2

    def matrix(angle: Tensor) -> list[list[Tensor | float]]:
        cos, sin = angle.cos(), angle.sin()
        return [[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]]

    return _transform(planes, MAX_ROTATION * strength, matrix)


def _transform(planes: Tensor, amount: Tensor, matrix: Callable[[Tensor], list[list[Tensor | float]]]) -> Tensor:
    """Take each pixel from the nearest one under an affine map, black outside the image.

    ``matrix``: amount [B] -> the 2 × 3 matrix from the coordinates (x, y, 1) of a result pixel's centre to those in
    the image, both with the origin at the top left corner, as for ``PIL.Image.transform``.
    """
    (height, width), device = planes.shape[2:], planes.device
    zeros = torch.zeros(len(planes), dtype=torch.float64, device=device)
    rows = [torch.stack([zeros + cell for cell in row], 1) for row in matrix(amount.view(-1).double())]
    centres = [torch.arange(length, device=device) + 0.5 for length in (height, width)]
    y, x = torch.meshgrid(*centres, indexing="ij")
    points = torch.stack((x, y, torch.ones_like(x))).view(3, -1).double()
    # The small number decides for points on the border of two pixels, which rounding else would.
    columns, lines = (torch.stack(rows, 1) @ points + 1e-6).floor().long().unbind(1)       # [B, H · W] each
    inside = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height)
    sources = lines.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    pixels = planes.flatten(2).gather(2, sources[:, None].expand(-1, planes.shape[1], -1))
    return (pixels * inside[:, None]).view_as(planes)


def _affine(maximum: float, matrix: Callable[[Tensor], list[list[Tensor | float]]]) -> Operation:
    return lambda planes, strength: _transform(planes, maximum * strength, matrix)


OPERATIONS: Mapping[str, Operation] = {
    "identity": lambda planes, _: planes,
    "brightness": lambda planes, strength: planes * (1 + MAX_ENHANCEMENT * strength),
    "contrast": lambda planes, strength: adjust_contrast(planes, 1 + MAX_ENHANCEMENT * strength),
    "colour": lambda planes, strength: adjust_saturation(planes, 1 + MAX_ENHANCEMENT * strength),
    "sharpness": _sharpness,
    "posterise": _posterise,
    "solarise": lambda planes, strength: torch.where(planes >= 255 * (1 - strength.abs()), 255 - planes, planes),
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "shear_x": _affine(MAX_SHEAR, lambda shear: [[1, shear, 0], [0, 1, 0]]),
    "shear_y": _affine(MAX_SHEAR, lambda shear: [[1, 0, 0], [shear, 1, 0]]),
    "translate_x": _affine(MAX_TRANSLATION, lambda pixels: [[1, 0, pixels], [0, 1, 0]]),
    "translate_y": _affine(MAX_TRANSLATION, lambda pixels: [[1, 0, 0], [0, 1, pixels]]),
    "rotate": _rotate,
}
