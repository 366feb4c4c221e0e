"""TrivialAugment: each operation does what its name says, and the generator alone decides which."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wideresnet.training import trivial
from wideresnet.training.trivial import OPERATIONS, trivial_augment

PLANES = 255 * torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def full(strength: float) -> Tensor:
    return torch.full((6, 1, 1, 1), strength)


def test_every_image_gets_one_operation_in_range_and_the_seed_decides() -> None:
    planes = PLANES.repeat(20, 1, 1, 1)
    one, same, other = (trivial_augment(planes, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == planes.shape
    assert one.min() >= 0
    assert one.max() <= 255
    untouched = (one == planes).flatten(1).all(1).float().mean()
    assert 0 < untouched < 0.3


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
def test_images_of_a_batch_do_not_touch_each_other(operation) -> None:
    strengths = torch.linspace(-1, 1, 6).view(6, 1, 1, 1)
    together = operation(PLANES, strengths)
    for place in range(6):
        alone = operation(PLANES[place : place + 1], strengths[place : place + 1])
        torch.testing.assert_close(together[place : place + 1], alone)


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each is not trivial._autocontrast], ids=lambda each: each.__name__
)
def test_strength_0_changes_nothing(operation) -> None:
    expected = PLANES.floor() if operation is trivial._posterise else PLANES
    if operation is trivial._solarise:
        expected = torch.where(PLANES >= 255, 255 - PLANES, PLANES)
    torch.testing.assert_close(operation(PLANES, full(0.0)), expected, atol=1e-2, rtol=0)


def test_geometry() -> None:
    quarter = trivial._rotate(PLANES, full(90 / 135))
    torch.testing.assert_close(quarter, torch.rot90(PLANES, 1, (2, 3)), atol=0.01, rtol=0)
    step = 1 / (trivial.FAR * 16 / 2)              # one pixel of sixteen
    moved = trivial._translate_x(PLANES, full(step))
    torch.testing.assert_close(moved[..., :-1], PLANES[..., 1:], atol=0.01, rtol=0)
    moved = trivial._translate_y(PLANES, full(step))
    torch.testing.assert_close(moved[:, :, :-1], PLANES[:, :, 1:], atol=0.01, rtol=0)
    for shear, axis in ((trivial._shear_x, 2), (trivial._shear_y, 3)):
        sheared = shear(torch.full_like(PLANES, 100.0), full(1.0))
        assert (sheared.select(axis, 0) == 0).any(), "black where it looks outside"


def test_colours() -> None:
    assert trivial._brightness(PLANES, full(-1.0)).max() < 3
    assert len(trivial._posterise(PLANES, full(1.0)).unique()) <= 4
    torch.testing.assert_close(trivial._solarise(PLANES, full(1.0)), 255 - PLANES)
    stretched = trivial._autocontrast(PLANES / 4 + 50, full(0.0))
    torch.testing.assert_close(stretched.amin((2, 3)), torch.zeros(6, 3), atol=0.01, rtol=0)
    torch.testing.assert_close(stretched.amax((2, 3)), torch.full((6, 3), 255.0), atol=0.01, rtol=0)
    grey = torch.full_like(PLANES, 7.0)
    torch.testing.assert_close(trivial._autocontrast(grey, full(0.0)), grey)
