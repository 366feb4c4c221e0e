"""Augmentation of batches is what a slow version does image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.training.augment import (
    choose_flips,
    crop_and_flip,
    crop_and_resize,
    normalise,
    random_boxes,
    reflect_pad,
    resize_matrix,
    standardise,
    to_planes,
)


def some_images(n: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (n, height, width, 3), generator=torch.Generator().manual_seed(1)).byte()


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_padding_mirrors_as_numpy_does(padding: int) -> None:
    images = some_images(3, 6, 9)
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    expected = np.pad(images.numpy(), around, mode="reflect")
    assert np.array_equal(reflect_pad(images, padding).numpy(), expected)


def test_crop_and_flip_is_slicing_and_mirroring_each_image() -> None:
    padded = some_images(8, 14, 14)
    chosen = torch.tensor([5, 0, 5, 7, 2])
    corners = torch.tensor([[0, 4], [4, 0], [2, 1], [3, 3], [1, 4]])
    flipped = torch.tensor([True, False, False, True, True])
    slow = []
    for index, (top, left_side), mirrored in zip(chosen, corners, flipped, strict=True):
        cut = padded[index, top : top + 10, left_side : left_side + 10]
        slow.append(cut.flip(1) if mirrored else cut)
    result = crop_and_flip(padded, chosen, corners, flipped, size=10)
    assert result.dtype == torch.uint8
    assert torch.equal(result, torch.stack(slow))


def test_alternating_flip_shows_every_image_the_other_way_round_in_the_next_epoch() -> None:
    base = torch.rand(100, generator=torch.Generator().manual_seed(0)) < 0.5
    generator = torch.Generator().manual_seed(0)
    first, second, third = (choose_flips("alternating", base, epoch, generator) for epoch in range(3))
    assert torch.equal(first, base)
    assert torch.equal(second, ~base)
    assert torch.equal(third, base)


def test_random_flip_mirrors_about_half_and_none_mirrors_nothing() -> None:
    base = torch.zeros(1000, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    assert 400 < int(choose_flips("random", base, 0, generator).sum()) < 600
    assert not choose_flips("none", ~base, 1, generator).any()


def test_normalised_images_have_the_statistics_taken_out() -> None:
    images = some_images(4, 8, 8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    expected = (images.numpy() / 255 - mean) / std
    result = normalise(to_planes(images), mean, std, 8)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(result.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_another_size_is_a_resize() -> None:
    plain = torch.full((2, 32, 32, 3), 51, dtype=torch.uint8)
    result = normalise(to_planes(plain), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 20)
    assert result.shape == (2, 3, 20, 20)
    torch.testing.assert_close(result, torch.full_like(result, 0.2))


# Random resized crops


def boxes_of(*boxes: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float32)


def planes(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float()


def resized(images: Tensor, size: int) -> Tensor:
    return F.interpolate(planes(images), (size, size), mode="bilinear", antialias=True)


NOT = torch.tensor([False])


@pytest.mark.parametrize("size", [1, 7, 16, 20, 33])
def test_the_crop_of_the_whole_image_is_a_plain_antialiased_resize(size: int) -> None:
    images = some_images(3, 20, 20)
    result = crop_and_resize(images, boxes_of((0, 0, 1, 1)).expand(3, 4), NOT.expand(3), size)
    assert (result.shape, result.dtype) == ((3, 3, size, size), torch.float32)
    torch.testing.assert_close(result, resized(images, size), atol=1e-3, rtol=0)


def test_a_crop_at_its_own_size_is_a_slice() -> None:
    images = some_images(1, 20, 20)
    result = crop_and_resize(images, boxes_of((0.25, 0.5, 0.4, 0.4)), NOT, 8)
    torch.testing.assert_close(result, planes(images)[:, :, 5:13, 10:18], atol=1e-3, rtol=0)


def test_a_part_that_is_resized_looks_beyond_its_edges_only_where_the_filter_reaches() -> None:
    images = some_images(1, 40, 40)
    box = boxes_of((0.2, 0.3, 0.5, 0.5))                # pixels 8 to 28 and 12 to 32
    result = crop_and_resize(images, box, NOT, 10)
    alone = resized(images[:, 8:28, 12:32], 10)
    torch.testing.assert_close(result[:, :, 1:-1, 1:-1], alone[:, :, 1:-1, 1:-1], atol=1e-3, rtol=0)


def test_rows_and_columns_are_not_confused() -> None:
    images = torch.zeros(1, 20, 20, 3, dtype=torch.uint8)
    images[:, :4] = 200                                 # a bright band above
    above = crop_and_resize(images, boxes_of((0, 0.5, 0.2, 0.5)), NOT, 4)
    below = crop_and_resize(images, boxes_of((0.5, 0, 0.5, 0.2)), NOT, 4)
    assert above[:, :, :3].min() == 200
    assert below.max() == 0


def test_flips_mirror_the_result_of_those_images_only() -> None:
    images, boxes = some_images(2, 20, 20), boxes_of((0.1, 0.3, 0.5, 0.6), (0, 0.2, 0.8, 0.7))
    plain = crop_and_resize(images, boxes, torch.tensor([False, False]), 12)
    mirrored = crop_and_resize(images, boxes, torch.tensor([True, False]), 12)
    torch.testing.assert_close(mirrored[0], plain[0].flip(-1))
    torch.testing.assert_close(mirrored[1], plain[1])


def test_each_image_of_a_batch_gets_its_own_box() -> None:
    images, boxes = some_images(2, 20, 20), boxes_of((0.1, 0.3, 0.5, 0.6), (0, 0.2, 0.8, 0.7))
    both = crop_and_resize(images, boxes, NOT.expand(2), 12)
    for index in range(2):
        alone = crop_and_resize(images[index : index + 1], boxes[index : index + 1], NOT, 12)
        torch.testing.assert_close(both[index : index + 1], alone)


def test_every_result_is_a_weighted_mean() -> None:
    weights = resize_matrix(torch.tensor([0.0, 0.4]), torch.tensor([1.0, 0.3]), 17, 9)
    assert weights.shape == (2, 9, 17)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 9))


def test_boxes_lie_in_the_image_and_have_the_areas_and_shapes_asked_for() -> None:
    boxes = random_boxes(5000, (0.2, 0.5), (0.5, 2.0), torch.Generator().manual_seed(0))
    top, left_side, height, width = boxes.unbind(1)
    assert min(top.min(), left_side.min()) >= 0
    assert max((top + height).max(), (left_side + width).max()) <= 1 + 1e-6
    area, ratio = height * width, width / height
    assert 0.2 - 1e-6 <= area.min() < 0.21
    assert 0.49 < area.max() <= 0.5 + 1e-6
    assert 0.5 - 1e-6 <= ratio.min() < 0.51
    assert 1.96 < ratio.max() <= 2 + 1e-5
    assert abs(float((ratio > 1).float().mean()) - 0.5) < 0.03, "as often wide as tall"
    assert torch.allclose(boxes.mean(0)[:2], (1 - boxes.mean(0)[2:]) / 2, atol=0.02), "in the middle on average"


def test_a_box_that_would_not_fit_is_cut_and_the_same_seed_draws_the_same() -> None:
    first, again = (random_boxes(500, (1.0, 1.0), (0.5, 2.0), torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(first[:, 2:].max(1).values, torch.ones(500))
    full = random_boxes(10, (1.0, 1.0), (1.0, 1.0), torch.Generator().manual_seed(3))
    torch.testing.assert_close(full, boxes_of((0, 0, 1, 1)).expand(10, 4))


def test_standardised_values_have_the_statistics_taken_out() -> None:
    result = standardise(torch.full((1, 3, 2, 2), 51.0), (0.2, 0.1, 0.3), (0.5, 0.1, 0.2))
    expected = torch.tensor([0.0, 1.0, -0.5]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
