"""Exact intervals of fractions, and the share of images that a cascade passes on beside that of its certification."""

from __future__ import annotations

import math

import pytest

from wideresnet.records import PassedOn, wilson_interval
from wideresnet.records.accuracy import error_bound, exact_interval


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


@pytest.mark.parametrize(
    ("wrong", "n", "bound"),
    [(0, 299, 0.00997), (0, 100, 0.02951), (5, 100, 0.10225), (10, 10, 1.0)],      # R: binom.test(…, "less")
)
def test_error_bound_is_exact(wrong: int, n: int, bound: float) -> None:
    assert error_bound(wrong, n, 0.05) == pytest.approx(bound, abs=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.958, 0.9988])
@pytest.mark.parametrize("n", [1, 5, 50, 200])
def test_the_exact_interval_misses_no_more_often_than_stated(share: float, n: int) -> None:
    """Wilson's misses 5.8 % of samples of 50 at 99.88 %, where 0.1 % are stated."""
    missed = 0.0
    for k in range(n + 1):
        low, high = exact_interval(k, n, 0.999)
        missed += (not low <= share <= high) * math.comb(n, k) * share**k * (1 - share) ** (n - k)
    assert missed <= 0.001


def test_the_exact_interval_of_all_and_of_none_reaches_the_ends() -> None:
    assert exact_interval(0, 10, 0.95) == pytest.approx((0, 1 - 0.025**0.1))
    assert exact_interval(10, 10, 0.95) == pytest.approx((0.025**0.1, 1))
