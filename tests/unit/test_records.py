"""Records are values: they add up, compare, and refuse to change."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from wideresnet.records import EngineInfo, EvalReport, Failure, wilson_interval

ENGINE = EngineInfo("fake", "1", "CPU", "f32", 2)


def report(n: int, correct1: int, correct5: int, *failures: Failure, seconds: float = 0.0) -> EvalReport:
    return EvalReport("m", "d", ENGINE, n, correct1, correct5, failures, seconds)


def test_reports_over_disjoint_images_add_up_exactly():
    """Counts add, not shares: 1 of 1 and 0 of 3 is 1 of 4."""
    one, other = Failure("a", "broken"), Failure("b", "broken")
    total = report(1, 1, 1, one, seconds=1.5) + report(3, 0, 2, other, seconds=2.0)
    assert total == report(4, 1, 3, one, other, seconds=3.5)
    assert (total.top1, total.top5) == (0.25, 0.75)


def test_a_report_over_nothing_has_no_accuracy():
    empty = report(0, 0, 0)
    assert math.isnan(empty.top1)
    assert math.isnan(empty.top5)
    assert empty.interval95 == (0.0, 1.0)


def test_the_interval_is_wilsons():
    """Newcombe 1998, Table I, method 3: 81 of 263 and 15 of 148, to four digits."""
    assert [round(x, 4) for x in wilson_interval(81, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in wilson_interval(15, 148)] == [0.0624, 0.1605]
    assert report(263, 81, 90).interval95 == wilson_interval(81, 263)


@given(st.integers(1, 10**6), st.data())
def test_the_interval_holds_the_share_and_stays_within_0_and_1(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n + 1e-12
    assert k / n - 1e-12 <= high <= 1
    assert low < high
