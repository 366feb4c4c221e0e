"""What an evaluation says of its counts."""

from __future__ import annotations

import math
from dataclasses import replace

from wideresnet.records import EvalReport, Failure, Scored, SetCoverage, UncertaintyCounts
from wideresnet.tasks.evaluate.metrics import accumulate

BLANK = EvalReport("m", "d", None, 0, 0, 0, uncertainty=UncertaintyCounts("", 0.01, sets=SetCoverage(0.5, 0, 0)))


def missed(label: int) -> Scored:
    """An image whose set does not hold its class."""
    top = (label + 1) % 3
    return Scored(f"{label}.png", label, 2, 2, (top,), (0.9,), p_known=0.5, coverage=0.5, set_size=1, covered=False)


def test_top_5_is_not_known_of_images_with_fewer_answers() -> None:
    right, wrong = Scored("a", 0, 1, 0, (0,), (0.9,)), Scored("b", 0, 0, 0, (1,), (0.8,))
    assert math.isnan(accumulate([right, wrong], BLANK).top5)
    five = replace(wrong, top=(1, 2, 3, 4, 5))
    assert accumulate([right, five], BLANK).top5 == 0.5
    assert accumulate([right], BLANK).top5 == 1
    assert accumulate([five], replace(BLANK, max_k=3)).max_k == 3


def test_classes_that_no_set_holds_are_covered_for_none_of_their_images() -> None:
    report = accumulate([missed(0), missed(1)], BLANK)
    assert report.covered == {0: 0, 1: 0}
    assert (report + report).covered == {0: 0, 1: 0}


def test_without_sets_or_from_an_older_file_the_coverage_of_classes_is_not_known() -> None:
    report = accumulate([missed(0)], BLANK)
    assert report.uncertainty is not None
    older = replace(report.uncertainty, sets=SetCoverage(0.5, 1, 1, (1,)))
    assert replace(report, uncertainty=older).covered == {}
    assert replace(report, uncertainty=replace(older, sets=None)).covered == {}
    assert replace(report, uncertainty=None).covered == {}


def test_a_shard_without_a_readable_image_leaves_the_masked_accuracy() -> None:
    right = Scored("a", 0, 1, 1, (0,), (0.9,))
    report, empty = accumulate([right], BLANK, present=2), accumulate([Failure("b", "torn")], BLANK, present=2)
    assert report.masked is not None
    assert (report + empty).masked == (empty + report).masked == report.masked
    assert (report + accumulate([right], BLANK)).masked is None
