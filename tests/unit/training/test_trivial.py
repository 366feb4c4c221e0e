"""TrivialAugment does to a batch what Pillow does to each image, and the generator alone decides what that is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from wideresnet.training.trivial import LEVELS, OPERATIONS, trivial_augment

SIDE = 32
STRENGTHS = [sign * level / (LEVELS - 1) for level in (0, 1, 7, 15, 23, 30) for sign in (-1, 1)]


def photographs() -> list[Image.Image]:
    """A gradient with noise, a dark image of few values, and a plain one."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(30, 220, SIDE)[:, None, None] + np.linspace(-20, 20, SIDE)[None, :, None] * np.array([1, 0, -1])
    noisy = np.clip(ramp + rng.normal(0, 12, (SIDE, SIDE, 3)), 0, 255)
    dark = rng.integers(10, 14, (SIDE, SIDE, 3))
    return [Image.fromarray(pixels.astype(np.uint8)) for pixels in (noisy, dark, np.full((SIDE, SIDE, 3), 7))]


def planes_of(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float()


def enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(1 + 0.99 * strength)


def affine(matrix: Callable[[float], tuple[float, ...]]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: image.transform(image.size, Image.Transform.AFFINE, matrix(strength))


def posterise(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round(6 * abs(strength)))


# The paper's operations and ranges, in Pillow's words. The second value is the largest difference from ours that is
# rounding: Pillow stores 8 bits after each step and greys in between, ours are float. Geometry is compared otherwise.
PILLOW: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float]] = {
    "identity": (lambda image, strength: image, 0),
    "brightness": (enhance(ImageEnhance.Brightness), 1),
    "contrast": (enhance(ImageEnhance.Contrast), 1.5),
    "colour": (enhance(ImageEnhance.Color), 1.5),
    "sharpness": (enhance(ImageEnhance.Sharpness), 1.5),
    "posterise": (posterise, 0),
    "solarise": (lambda image, strength: ImageOps.solarize(image, 255 - 255 * abs(strength)), 0),
    "autocontrast": (lambda image, strength: ImageOps.autocontrast(image), 1),
    "equalise": (lambda image, strength: ImageOps.equalize(image), 0),
}
PILLOW_GEOMETRY: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "shear_x": affine(lambda strength: (1, 0.99 * strength, 0, 0, 1, 0)),
    "shear_y": affine(lambda strength: (1, 0, 0, 0.99 * strength, 1, 0)),
    "translate_x": affine(lambda strength: (1, 0, 32 * strength, 0, 1, 0)),
    "translate_y": affine(lambda strength: (1, 0, 0, 0, 1, 32 * strength)),
    "rotate": lambda image, strength: image.rotate(135 * strength),
}


def test_the_operations_are_the_papers() -> None:
    assert OPERATIONS.keys() == PILLOW.keys() | PILLOW_GEOMETRY.keys()
    assert len(OPERATIONS) == 14
    assert LEVELS == 31


@pytest.mark.parametrize("name", PILLOW)
def test_colours_are_pillows_up_to_rounding(name: str) -> None:
    images = photographs()
    reference, tolerance = PILLOW[name]
    for strength in STRENGTHS:
        expected = planes_of([reference(image, strength) for image in images])
        result = OPERATIONS[name](planes_of(images), torch.full((len(images), 1, 1, 1), strength)).clamp(0, 255)
        torch.testing.assert_close(result, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", PILLOW_GEOMETRY)
def test_geometry_takes_the_pixels_that_pillow_takes(name: str) -> None:
    """All but 2 in 100, whose source is so near the border of two pixels that rounding decides."""
    images = photographs()
    for strength in STRENGTHS:
        expected = planes_of([PILLOW_GEOMETRY[name](image, strength) for image in images])
        result = OPERATIONS[name](planes_of(images), torch.full((len(images), 1, 1, 1), strength))
        assert (result != expected).float().mean() < 0.02, strength


@pytest.mark.parametrize("name", OPERATIONS)
def test_images_of_a_batch_are_independent(name: str) -> None:
    planes = 255 * torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    strengths = torch.linspace(-1, 1, 6).view(6, 1, 1, 1)
    together = OPERATIONS[name](planes, strengths)
    separately = [OPERATIONS[name](*pair) for pair in zip(planes.split(1), strengths.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(separately))


def test_every_image_gets_one_operation_in_range_and_the_seed_decides() -> None:
    planes = planes_of(photographs()[:1]).repeat(600, 1, 1, 1)
    first, same, different = (trivial_augment(planes, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, different)
    assert first.shape == planes.shape
    assert (first.min(), first.max()) == (0, 255)
    # Each of 14 operations is as likely as any other; the identity, strength 0 and mild solarising change nothing.
    unchanged = (first == planes).flatten(1).all(1).float().mean()
    assert 1 / 14 - 0.04 < unchanged < 1 / 14 + 0.1
