"""The mean of several seeds, and its interval."""

from __future__ import annotations

import math

import pytest

from wideresnet.records import Images, Labels, SeedRun, SeedsReport, student_t
from wideresnet.report import seeds as report


def seeds(*top1: float, requested: int = 3) -> SeedsReport:
    runs = tuple(
        SeedRun(seed, f"run/seed-{seed}", ({"epoch": 0, "loss": 2.0, "seconds": 60.0}, {
            "epoch": 1, "loss": 1.0, "top1": value, "seconds": 30.0,
        })) for seed, value in enumerate(top1)
    )  # fmt: skip
    return SeedsReport("wrn_16_1", requested, runs, Images("cifar10", Labels(("a", "b")), 50, 10))


# Tables of Student's distribution: 0.975 quantiles.
@pytest.mark.parametrize(("degrees", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)])
def test_quantiles_are_those_of_the_tables(degrees: int, t: float) -> None:
    assert student_t(degrees) == pytest.approx(t, abs=0.001)


def test_other_levels_too() -> None:
    assert student_t(5, 0.9) == pytest.approx(2.015, abs=0.001)
    assert student_t(2, 0.99) == pytest.approx(9.925, abs=0.002)


def test_an_interval_has_no_impossible_accuracies() -> None:
    assert seeds(0.08, 0.12).interval95[0] == 0
    assert seeds(0.99, 0.95).interval95[1] == 1


def test_three_runs_have_a_mean_a_deviation_and_an_interval() -> None:
    """88.42, 88.14, 88.28: deviation 0.14; 4.3027 · 0.14 / √3 = 0.3478."""
    result = seeds(0.8842, 0.8814, 0.8828)
    assert (result.n, result.mean, result.deviation) == (3, pytest.approx(0.8828), pytest.approx(0.0014))
    assert result.interval95 == pytest.approx((0.8828 - 0.003478, 0.8828 + 0.003478), abs=1e-6)
    assert report.summary(result) == (
        "top-1 88.28 ± 0.14 % (mean ± standard deviation, n = 3); 95 % interval of the mean: 87.93 to 88.63 %"
    )
    document = report.to_json(result)
    assert (document["mean"], document["deviation"], document["interval95"]) == (88.28, 0.14, [87.932, 88.628])
    assert [run["top1"] for run in document["runs"]] == [88.42, 88.14, 88.28]
    assert report.to_text(result).splitlines()[1].split() == ["0", "88.42", "%", "1.5", "run/seed-0"]


def test_one_run_of_several_has_no_interval() -> None:
    result = seeds(0.9)
    assert math.isnan(result.deviation)
    assert report.summary(result) == "top-1 90.00 % (n = 1 of 3)"
    document = report.to_json(result)
    assert (document["deviation"], document["interval95"]) == (None, [None, None])


def test_the_page_has_a_curve_of_each_seed() -> None:
    page = report.to_html(seeds(0.9, 0.8, 0.85), {"command": "wrn train r.toml --seeds 3"})
    assert page.count("<polyline") == 3, "of the training loss; one evaluation is no curve"
    for text in ("seed 0", "seed 2", "85.00 ± 5.00 %", "wrn train r.toml --seeds 3"):
        assert text in page
