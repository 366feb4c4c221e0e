"""Temperature scaling and the quality of probabilities."""

import numpy as np
import pytest

from wideresnet.tasks.calibrate.temperature import (
    calibration_error,
    confidence_bins,
    fit_margin,
    fit_temperature,
    reliability,
)


def drawn(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 5], and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, 5))
    noise = rng.gumbel(size=logits.shape)
    return logits.astype(np.float32), (logits / temperature + noise).argmax(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.08)


def test_answers_that_are_all_wrong_end_at_the_limit() -> None:
    logits = np.eye(4, dtype=np.float32)
    assert fit_temperature(logits, np.arange(4)[::-1]) == pytest.approx(20, rel=1e-4)


def test_images_that_are_all_answered_correctly_change_no_probability() -> None:
    """Every lower temperature would fit them better, and be too sure of new images: of 100 at 99 % a third are such."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4.5, (60_000, 10))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    sure = np.sort(logits)[:, -1] - np.sort(logits)[:, -2] > 4
    logits, right = logits[sure], (logits.argmax(1) == labels)[sure]
    labels = labels[sure]
    assert 0.98 < right.mean() < 0.998
    few = np.flatnonzero(right)[:100]
    temperature = fit_temperature(logits[few], labels[few])
    assert reliability(logits / temperature, labels).nll == pytest.approx(reliability(logits, labels).nll)
    assert fit_margin(logits[few], labels[few]) is None


def test_the_right_temperature_is_reliable() -> None:
    logits, labels = drawn(2.0)
    assert reliability(logits, labels).ece > 0.1
    after = reliability(logits / 2, labels)
    assert after.ece < 0.03
    assert after.classwise_ece < 0.02
    assert after.nll < reliability(logits, labels).nll
    assert after.brier < reliability(logits, labels).brier


def test_the_margin_scale_is_found() -> None:
    logits, _ = drawn(1.0, 20_000)
    ordered = np.sort(logits)
    truth = logits * (0.6 + 0.3 * (ordered[:, -1:] - ordered[:, -2:-1]))
    labels = (truth + np.random.default_rng(1).gumbel(size=truth.shape)).argmax(1)
    scale = fit_margin(logits, labels)
    assert scale is not None
    assert (scale.offset, scale.slope) == (pytest.approx(0.6, abs=0.04), pytest.approx(0.3, abs=0.03))
    np.testing.assert_allclose(scale.scale(logits), scale.offset * logits + scale.slope * (truth - 0.6 * logits) / 0.3,
                               rtol=1e-4, atol=1e-4)  # fmt: skip
    assert reliability(scale.scale(logits), labels).ece < 0.02 < reliability(logits, labels).ece


def test_a_temperature_is_enough_where_it_is_the_truth() -> None:
    logits, labels = drawn(1.0)
    assert fit_margin(logits, labels) is None


def test_a_scale_that_falls_with_the_margin_is_refused() -> None:
    logits, _ = drawn(1.0, 20_000)
    ordered = np.sort(logits)
    truth = logits * (1 - 0.1 * (ordered[:, -1:] - ordered[:, -2:-1]))
    labels = (truth + np.random.default_rng(1).gumbel(size=truth.shape)).argmax(1)
    assert fit_margin(logits, labels) is None


def test_figures_of_two_images_by_hand() -> None:
    values = reliability(np.log(np.array([[0.8, 0.2], [0.4, 0.6]])), np.array([0, 0]))
    assert values.nll == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert values.brier == pytest.approx((2 * 0.2**2 + 2 * 0.6**2) / 2)
    assert values.ece == pytest.approx((0.2 + 0.6) / 2)


def test_bins_of_three_images_by_hand() -> None:
    logits = np.log(np.array([[0.8, 0.2], [0.4, 0.6], [0.81, 0.19]]))
    bins = confidence_bins(logits, np.array([0, 0, 1]))
    assert (len(bins), bins[9].n, bins[9].correct, bins[9].billionths) == (15, 1, 0, 600_000_000)
    assert (bins[12].n, bins[12].correct, bins[12].billionths) == (2, 1, 1_610_000_000)
    assert sum(part.n for part in bins) == 3


def test_certainty_is_in_the_last_bin() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == pytest.approx(0.5)
