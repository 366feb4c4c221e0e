"""The verdict of a gate from its figures, and the number of images that could decide it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wideresnet.records import EngineInfo, GateReport, paired_interval, wilson_interval
from wideresnet.records.accuracy import images_to_show
from wideresnet.records.comparison import images_to_exclude

ENGINE = EngineInfo("openvino", "2026.1", "CPU", "int8", 2)


def gate(lost: int, gained: int, n: int, limit: float | None) -> GateReport:
    return GateReport(
        "set", n, 0, 0.9, 0.9, 0.9, 0.9, (lost - gained) / n, paired_interval(lost, gained, n), 1.0, 1.0, 0.0, limit,
        True, ENGINE, flips=lost + gained,
    )  # fmt: skip


def test_a_loss_is_excluded_only_by_an_interval_within_the_limit() -> None:
    verdicts = [gate(*counts, 0.002).verdict for counts in ((0, 0, 18), (0, 0, 1917), (9, 8, 10_000), (3, 0, 1000))]
    assert verdicts == ["undecided", "passed", "passed", "failed"]
    assert gate(0, 0, 18, None).verdict == "none"


def test_agreement_is_shown_only_by_an_interval_within_the_limit() -> None:
    plain = replace(gate(0, 0, 72, 0.95), drop=None, interval95=None)
    same = [replace(plain, n=n, agreement=agreement) for n, agreement in ((72, 1.0), (73, 1.0), (1000, 0.94))]
    assert [report.verdict for report in same] == ["undecided", "passed", "failed"]
    assert [report.images_needed for report in same] == [73, None, None]
    assert replace(plain, agreement=0.95, n=100).images_needed is None, "at the limit no number is enough"


def test_the_images_needed_are_the_fewest_whose_interval_ends_at_the_limit() -> None:
    n = images_to_exclude(0.002, 0.0, 0.0)
    assert n == gate(0, 0, 18, 0.002).images_needed == 1917
    assert paired_interval(0, 0, n)[1] <= 0.002 < paired_interval(0, 0, n - 1)[1]
    n = images_to_show(0.9, 1.0)
    assert n is not None
    assert wilson_interval(n, n)[0] >= 0.9 > wilson_interval(n - 1, n - 1)[0]


@pytest.mark.parametrize(("loss", "flips"), [(0.0, 0.01), (0.001, 0.02), (-0.05, 0.06)])
def test_at_that_number_the_same_fractions_are_decided(loss: float, flips: float) -> None:
    """A gain does not count: few images may show it by chance."""
    limit, loss = 0.002, max(loss, 0.0)
    n = images_to_exclude(limit, loss, flips)
    assert n is not None
    lost, gained = n * (flips + loss) / 2, n * (flips - loss) / 2
    assert paired_interval(lost, gained, n)[1] == pytest.approx(limit, rel=1e-3)     # type: ignore[arg-type]
    assert images_to_exclude(limit, limit, flips) is None
