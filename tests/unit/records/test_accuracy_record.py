"""The share of images that a cascade passes on, beside that of its certification."""

from __future__ import annotations

import math

import pytest

from wideresnet.records import PassedOn, wilson_interval


@pytest.mark.parametrize("share", [0.02, 0.188, 0.5, 0.9])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 20, 100])
def test_images_like_those_of_the_certification_are_seldom_called_unusual(share: float, n: int) -> None:
    """The chance by the binomial distribution; 95 % intervals are stated."""
    certified = wilson_interval(round(5000 * share), 5000)
    chances = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    unusual = [chance for k, chance in enumerate(chances) if PassedOn(certified, k, n).is_unusual]
    assert sum(unusual) <= 0.05


def test_one_image_tells_nothing_and_many_tell_a_change() -> None:
    certified = wilson_interval(941, 5000)
    assert not PassedOn(certified, 1, 1).is_unusual
    assert not PassedOn(certified, 0, 1).is_unusual
    assert not PassedOn(certified).is_unusual
    assert PassedOn(certified, 26, 100).differs(1.0)
    assert PassedOn(certified, 30, 100).is_unusual
    assert PassedOn(certified, 8, 100).is_unusual
