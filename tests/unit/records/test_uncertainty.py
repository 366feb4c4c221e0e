"""Order statistics of calibration scores."""

import math

import pytest

from wideresnet.records import ScoreQuantiles, SetCoverage

ALL = ScoreQuantiles(9, tuple(range(1, 10)), tuple(i / 10 for i in range(1, 10)))
SOME = ScoreQuantiles(9, (2, 5, 9), (0.2, 0.5, 0.9))


@pytest.mark.parametrize(("coverage", "rank"), [(0.5, 5), (0.55, 6), (0.8, 8), (0.9, 9)])
def test_the_threshold_is_the_score_of_rank_n_plus_1_times_coverage(coverage: float, rank: int) -> None:
    assert ALL.threshold(coverage) == rank / 10


def test_beyond_n_over_n_plus_1_nothing_can_be_promised() -> None:
    assert ALL.threshold(0.91) == math.inf


def test_missing_ranks_are_rounded_up() -> None:
    assert [SOME.threshold(coverage) for coverage in (0.2, 0.3, 0.5, 0.6)] == [0.2, 0.5, 0.5, 0.9]


def test_p_values_count_the_scores_that_are_as_large() -> None:
    assert [ALL.p_value(score) for score in (0.0, 0.5, 0.55, 2.0)] == [1.0, 0.6, 0.5, 0.1]


def test_p_values_between_ranks_are_rounded_up() -> None:
    assert SOME.p_value(0.49) == 0.8          # at least two scores are smaller
    assert SOME.p_value(5.0) == 0.1


def test_mean_size_of_sets() -> None:
    assert SetCoverage(0.9, 10, 9, (5, 4, 1)).mean_size == pytest.approx(1.6)
