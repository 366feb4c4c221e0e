"""Colours, boxes and mixtures of whole batches are what a slow version does image by image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from wideresnet.training.mix import (
    adjust_contrast,
    adjust_saturation,
    cutmix,
    cutout,
    erase,
    grey,
    inside_boxes,
    jitter,
    mixup,
    sample_beta,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_planes(count: int = 40) -> Tensor:
    return 255 * torch.rand(count, 3, 12, 16, generator=generator(1))


TARGETS = F.one_hot(torch.arange(40), 40).float()  # each image is its own class: who is in a mixture can be read off


def test_contrast_and_saturation_move_pixels_away_from_grey() -> None:
    planes = some_planes(3)
    factor = torch.tensor([0.0, 1.0, 1.5]).view(-1, 1, 1, 1)
    flat = adjust_contrast(planes, factor)
    torch.testing.assert_close(flat[0], grey(planes[:1]).mean().expand(3, 12, 16))
    colourless = adjust_saturation(planes, factor)
    torch.testing.assert_close(colourless[0], grey(planes[:1])[0].expand(3, 12, 16))
    for changed in (flat, colourless):
        torch.testing.assert_close(changed[1], planes[1])
    torch.testing.assert_close(colourless[2] - planes[2], 0.5 * (planes[2] - grey(planes[2:])[0]))


def test_jitter_stays_in_range_differs_from_image_to_image_and_is_nothing_at_0() -> None:
    planes = some_planes(1).expand(20, -1, -1, -1)
    changed = jitter(planes, 0.4, generator())
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert len({round(float(image.mean()), 3) for image in changed}) == 20
    torch.testing.assert_close(jitter(planes, 0.0, generator()), planes)


def test_erasing_blots_one_box_out_of_the_share_of_images() -> None:
    planes = some_planes(400)
    erased = erase(planes, 0.25, generator())
    gone = (erased == 0).all(1)
    hit = gone.flatten(1).any(1)
    assert 60 <= int(hit.sum()) <= 140
    torch.testing.assert_close(erased[~gone[:, None].expand_as(erased)], planes[~gone[:, None].expand_as(planes)])
    for image in gone[hit]:
        rows, columns = image.any(1), image.any(0)
        assert int(image.sum()) == int(rows.sum() * columns.sum()), "a box"


def test_erased_pixels_get_the_colour_and_the_area_that_are_given() -> None:
    planes, fill = some_planes(300), torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    gone = erase(planes, 1.0, generator(), (0.3, 0.3), fill) == fill
    assert (gone.all(1) == gone.any(1)).all()
    # Of boxes that are not cut to the image, 0.3 of the 192 pixels, and a line or a column more or less.
    areas = gone[:, 0].flatten(1).sum(1).float()
    assert areas.median().item() == pytest.approx(0.3 * 192, abs=10)


@pytest.mark.parametrize("side", [1, 7, 8, 16])
def test_cutout_takes_the_squares_of_the_papers_code_cut_at_the_border(side: int) -> None:
    """The paper's code: centre c uniform in 0..n - 1, from max(0, c - side // 2) to min(n, c - side // 2 + side)."""
    planes = torch.ones(3000, 3, 12, 16)
    gone = cutout(planes, side, generator()) == 0
    assert (gone.all(1) == gone.any(1)).all()
    for axis, length in ((2, 12), (1, 16)):
        starts = [c - side // 2 for c in range(length)]
        expected = [(max(0, start), min(length, start + side)) for start in starts]
        lines = gone[:, 0].any(axis)
        first = lines.int().argmax(1)
        found = torch.stack((first, first + lines.sum(1)), 1).tolist()
        assert set(map(tuple, found)) == set(expected)
        for ends in set(expected):
            frequency = found.count(list(ends)) / len(found)
            assert frequency == pytest.approx(expected.count(ends) / length, abs=0.03), ends
    colour = torch.tensor([4.0, 5.0, 6.0]).view(3, 1, 1)
    filled = cutout(planes, side, generator(), colour)
    torch.testing.assert_close(filled, torch.where(gone, colour, planes))


def test_boxes_hold_the_pixels_whose_middle_is_inside() -> None:
    inside = inside_boxes(torch.tensor([[0.0, 0.5, 0.25, 0.5], [0.0, 0.0, 1.0, 1.0]]), 4, 4)
    assert inside[0].nonzero().tolist() == [[0, 2], [0, 3]]
    assert inside[1].all()


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_target_says_how_much_of_whom_is_in_the_image(mix) -> None:
    planes = torch.arange(40.0).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)        # image k is full of k
    images, targets = mix(planes, TARGETS, 1.0, generator())
    torch.testing.assert_close(targets.sum(1), torch.ones(40))
    assert int((targets > 0).sum(1).max()) == 2
    torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(40.0))
    assert len(set(targets.diagonal().tolist())) > 20, "shares of their own"


def test_cutmix_exchanges_a_box_and_mixup_everything() -> None:
    planes = torch.arange(40.0).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    cut, _ = cutmix(planes, TARGETS, 1.0, generator())
    assert torch.equal(cut, cut.round()), "every pixel is of one of the two"
    blended, _ = mixup(planes, TARGETS, 1.0, generator())
    assert all(len(image.unique()) == 1 for image in blended)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 5.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    drawn = sample_beta(alpha, 20_000, generator())
    assert drawn.isfinite().all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.015)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.01)
