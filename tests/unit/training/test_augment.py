"""Augmentation of batches is what a slow version does picture by picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from wideresnet.training.augment import crop_and_flip, flips, normalise, reflect_pad


def some_images(n: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (n, height, width, 3), generator=torch.Generator().manual_seed(1)).byte()


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_padding_mirrors_as_numpy_does(padding: int) -> None:
    images = some_images(3, 6, 9)
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    expected = np.pad(images.numpy(), around, mode="reflect")
    assert np.array_equal(reflect_pad(images, padding).numpy(), expected)


def test_crop_and_flip_is_slicing_and_mirroring_each_picture() -> None:
    padded = some_images(8, 14, 14)
    chosen = torch.tensor([5, 0, 5, 7, 2])
    corners = torch.tensor([[0, 4], [4, 0], [2, 1], [3, 3], [1, 4]])
    flipped = torch.tensor([True, False, False, True, True])
    slow = []
    for index, (top, left), mirrored in zip(chosen, corners, flipped, strict=True):
        cut = padded[index, top : top + 10, left : left + 10]
        slow.append(cut.flip(1) if mirrored else cut)
    found = crop_and_flip(padded, chosen, corners, flipped, size=10)
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack(slow))


def test_alternating_flip_shows_every_picture_the_other_way_round_in_the_next_epoch() -> None:
    base = torch.rand(100, generator=torch.Generator().manual_seed(0)) < 0.5
    generator = torch.Generator().manual_seed(0)
    first, second, third = (flips("alternating", base, epoch, generator) for epoch in range(3))
    assert torch.equal(first, base)
    assert torch.equal(second, ~base)
    assert torch.equal(third, base)


def test_random_flip_mirrors_about_half_and_none_mirrors_nothing() -> None:
    base = torch.zeros(1000, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    assert 400 < int(flips("random", base, 0, generator).sum()) < 600
    assert not flips("none", ~base, 1, generator).any()


def test_normalised_pictures_have_the_statistics_taken_out() -> None:
    images = some_images(4, 8, 8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    expected = (images.numpy() / 255 - mean) / std
    found = normalise(images, mean, std, 8)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(found.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_another_size_is_a_resize() -> None:
    plain = torch.full((2, 32, 32, 3), 51, dtype=torch.uint8)
    found = normalise(plain, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 20)
    assert found.shape == (2, 3, 20, 20)
    torch.testing.assert_close(found, torch.full_like(found, 0.2))
