"""TrivialAugment does to a batch what Pillow does to each image, and the generator alone decides what that is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from wideresnet.training import trivial
from wideresnet.training.trivial import LEVELS, OPERATIONS, rand_augment, trivial_augment

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


# torchvision's RandAugment (its _augmentation_space) in Pillow's words, at a fraction of the strongest with a sign.
RAND: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + 0.9 * m),
    "contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + 0.9 * m),
    "colour": lambda image, m: ImageEnhance.Color(image).enhance(1 + 0.9 * m),
    "sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * m),
    "posterise": lambda image, m: ImageOps.posterize(image, 8 - round(4 * abs(m))),
    "solarise": lambda image, m: ImageOps.solarize(image, 255 - 255 * abs(m)),
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalise": lambda image, _: ImageOps.equalize(image),
    "shear_x": affine(lambda m: (1, 0.3 * m, 0, 0, 1, 0)),
    "shear_y": affine(lambda m: (1, 0, 0, 0.3 * m, 1, 0)),
    "translate_x": affine(lambda m: (1, 0, 150 / 331 * SIDE * m, 0, 1, 0)),
    "translate_y": affine(lambda m: (1, 0, 0, 0, 1, 150 / 331 * SIDE * m)),
    "rotate": lambda image, m: image.rotate(30 * m),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("level", [0, 4, 9, 17, 30])
def test_randaugment_has_the_operations_of_torchvision_in_its_ranges(
    name: str, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, differences are the rounding of Pillow's 8 bits, and in geometry of at most one line of the 32."""
    images = photographs()
    monkeypatch.setattr(trivial, "OPERATIONS", {name: OPERATIONS[name]})
    result = rand_augment(planes_of(images), 1, level, torch.Generator().manual_seed(level))
    for image, pixels in zip(images, result, strict=True):
        (left,), (right,) = (planes_of([RAND[name](image, sign * level / 30)]) for sign in (-1, 1))
        if name in PILLOW_GEOMETRY:
            assert min((pixels != expected).float().mean() for expected in (left, right)) < 0.032
        else:
            assert min((pixels - expected).abs().max() for expected in (left, right)) <= PILLOW[name][1]


def test_randaugment_applies_a_number_of_operations_of_any_sign_to_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    operations = {"one": lambda planes, sign: planes + 10 + sign, "two": lambda planes, sign: planes + 20 + sign}
    monkeypatch.setattr(trivial, "OPERATIONS", operations)
    planes = torch.zeros(400, 3, 2, 2)
    values = [float(value) for value in rand_augment(planes, 3, 15, torch.Generator().manual_seed(0))[:, 0, 0, 0]]
    assert {round(value, -1) for value in values} == {30, 40, 50, 60}
    assert {round(value % 10, 1) for value in values} == {8.5, 9.5, 0.5, 1.5}, "each operation is of strength ± 15/30"
