"""What a comparison says of its counts: McNemar's exact p, an interval that covers, and signs that mean B less A."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wideresnet.records import (
    ClassChange,
    ClassCounts,
    ComparisonReport,
    EvalReport,
    Flip,
    mcnemar,
    paired_bound,
    paired_interval,
)


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 7, 2 * 9 / 256), (10, 2, 2 * 79 / 4096)]
)
def test_mcnemars_p_is_the_binomials(lost: int, gained: int, p: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p)
    assert mcnemar(gained, lost) == pytest.approx(p)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    cells = rng.multinomial(2000, [0.9, 0.03, 0.02, 0.05], size=2000)
    covered = [low <= 0.01 <= high for low, high in (paired_interval(c[1], c[2], 2000) for c in cells)]
    assert 0.93 < np.mean(covered) < 0.97


def test_mcnemars_p_of_many_flips_is_the_sum_of_the_binomials_tail() -> None:
    tail = sum(math.comb(400, k) for k in range(181))
    assert mcnemar(180, 220) == 2 * tail / 2**400
    assert mcnemar(5_900, 6_100) == pytest.approx(math.erfc(199 / math.sqrt(2 * 12_000)), rel=1e-3)


def side(correct: dict[int, int], n: int = 10) -> EvalReport:
    by_class = {label: ClassCounts(n, right, n) for label, right in correct.items()}
    return EvalReport("m", "d", None, n * len(correct), sum(correct.values()), n * len(correct), by_class=by_class)


def flip(path: str, right: str, sure: tuple[float, float] = (0.6, 0.9)) -> Flip:
    return Flip(path, 0, "A" if right == "A" else "B", (0, 1) if right == "A" else (1, 0), sure)


def test_a_difference_is_positive_where_b_is_better() -> None:
    flips = (flip("a", "B"), flip("b", "B"), flip("c", "A"))
    report = ComparisonReport(side({0: 5, 1: 5}), side({0: 7, 1: 4}), agreements=12, flips=flips)
    assert (report.n, report.only_a_correct, report.only_b_correct, report.difference) == (20, 1, 2, 0.05)
    low, high = report.interval95
    assert low < 0.05 < high
    assert (report.p_value, report.agreement) == (1.0, 0.6)


def test_changed_classes_come_most_changed_first_and_others_not_at_all() -> None:
    report = ComparisonReport(side({0: 5, 1: 5, 2: 9, 7: 3}), side({0: 6, 1: 2, 2: 9, 7: 6}), agreements=0, flips=())
    assert report.changes == (ClassChange(1, 10, (5, 2)), ClassChange(7, 10, (3, 6)), ClassChange(0, 10, (5, 6)))
    assert [change.difference for change in report.changes] == [-3, 3, 1]


def test_a_mistake_is_the_probability_of_whoever_was_wrong() -> None:
    assert flip("a", "A", (0.6, 0.9)).mistake == 0.9
    assert flip("a", "B", (0.6, 0.9)).mistake == 0.6


@pytest.mark.parametrize(("lost", "gained", "n"), [(120, 100, 5000), (100, 120, 5000), (240, 200, 500), (30, 30, 60)])
def test_the_interval_is_about_walds_where_many_images_differ(lost: int, gained: int, n: int) -> None:
    """The variance of n times a difference is lost + gained - (lost - gained)² / n: both are of the same images."""
    difference, half = (lost - gained) / n, 1.96 * math.sqrt(lost + gained - (lost - gained) ** 2 / n) / n
    assert paired_interval(lost, gained, n) == pytest.approx((difference - half, difference + half), abs=0.035 * half)


def test_the_bound_of_a_loss_holds_where_every_second_answer_differs() -> None:
    rng = np.random.default_rng(4)
    cells = rng.multinomial(500, [0.45, 0.45, 0.1], size=4000).tolist()
    assert np.mean([paired_bound(lost, gained, 500) < 0 for lost, gained, _ in cells]) < 0.035


def test_an_interval_of_one_image_is_within_what_a_difference_can_be() -> None:
    for lost, gained in ((0, 0), (1, 0), (0, 1)):
        low, high = paired_interval(lost, gained, 1)
        assert -1 <= low <= lost - gained <= high <= 1


def test_the_bound_of_a_loss_holds_where_few_images_differ() -> None:
    """Agresti and Min's interval is exceeded by 8 % of samples here; 2.5 % are stated."""
    rng = np.random.default_rng(3)
    for loss in (0.0005, 0.001, 0.003):
        ends = [paired_interval(int(count), 0, 5000) for count in rng.binomial(5000, loss, 4000)]
        assert np.mean([high < loss for _, high in ends]) < 0.035
    assert paired_bound(0, 0, 5000) == pytest.approx(3.84 / 5004, rel=1e-3)
