"""Prediction sets from logits."""

import math
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from fakes import calibrated_bundle, tiny_bundle
from wideresnet.errors import ConfigError
from wideresnet.prediction_sets import (
    check_coverage,
    fewest_images,
    fewest_to_refuse,
    image_draws,
    p_values,
    prediction_sets,
    set_scores,
)
from wideresnet.records import Batch, ScoreQuantiles, SetModel
from wideresnet.tasks.calibrate.conformal import quantiles

LOGITS = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
HALF = np.full(2, 0.5)


def scores_of(*values: float) -> ScoreQuantiles:
    return ScoreQuantiles(len(values), tuple(range(1, len(values) + 1)), values)


def test_lac_scores_are_the_missing_probability() -> None:
    scores = set_scores(LOGITS, SetModel("lac", scores_of()), HALF)
    np.testing.assert_allclose(scores, [[0.5, 0.7, 0.8], [0.9, 0.9, 0.2]])


def test_raps_scores_add_up_likelier_classes_and_penalise_ranks() -> None:
    """With u = 0.5 half of the own probability counts; the second and third rank cost 0.1 and 0.2."""
    scores = set_scores(LOGITS, SetModel("raps", scores_of(), penalty=0.1, free_ranks=1), HALF)
    np.testing.assert_allclose(scores, [[0.25, 0.65 + 0.1, 0.9 + 0.2], [0.85 + 0.1, 0.95 + 0.2, 0.4]])


def test_a_set_holds_the_classes_within_the_threshold() -> None:
    model = SetModel("lac", scores_of(0.1, 0.3, 0.72))
    members = prediction_sets(LOGITS, model, 0.7, HALF)
    assert members.tolist() == [[True, True, False], [False, False, True]]


def test_a_set_is_never_empty() -> None:
    members = prediction_sets(LOGITS, SetModel("lac", scores_of(0.0, 0.0, 0.0)), 0.5, HALF)
    assert members.tolist() == [[True, False, False], [False, False, True]]


def test_too_few_images_give_all_classes() -> None:
    assert prediction_sets(LOGITS, SetModel("lac", scores_of(0.0)), 0.9, HALF).all()


def test_a_class_of_its_own_has_its_own_threshold() -> None:
    model = SetModel("lac", scores_of(0.0, 0.0, 0.0), classes=(None, None, scores_of(0.8, 0.8, 0.8)))
    assert prediction_sets(LOGITS, model, 0.5, HALF)[0].tolist() == [True, False, True]


def test_draws_depend_on_pixels_alone_and_spread_evenly() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 3), dtype=np.uint8)
    draws = image_draws(crops)
    assert draws[7] == image_draws(crops[7:8].copy())[0]
    assert abs(draws.mean() - 0.5) < 0.02
    assert np.histogram(draws, 10, (0, 1))[0].min() > 150


def test_an_image_without_a_finite_score_is_not_known_at_all() -> None:
    """A score that overflowed compares with none: it is not taken for the best of all."""
    model = calibrated_bundle(tiny_bundle()).card.uncertainty
    assert model is not None
    scores = np.array([np.nan, np.inf, -np.inf, -0.3, 9.0])
    batch = Batch(np.zeros((5, 1, 1, 3), np.uint8), (), known_scores=scores)
    assert p_values(batch, model) == [0.25, 0.25, 0.25, 0.75, 1.0]


@pytest.mark.parametrize("percent", [50, 66.7, 90, 95, 97.3, 99, 99.5, 99.9])
def test_the_fewest_images_of_a_coverage_are_enough_and_one_less_is_not(percent: float) -> None:
    bundle, n = calibrated_bundle(tiny_bundle()), fewest_images(percent / 100)
    assert n == -(-percent * 10 // (1000 - percent * 10))
    for count, enough in ((n, True), (n - 1, False)):
        scores = quantiles(np.linspace(0, 1, count)) if count else ScoreQuantiles(0, (), ())
        assert np.isfinite(scores.threshold(percent / 100)) == enough
        assert bundle.card.uncertainty is not None
        model = replace(bundle.card.uncertainty, sets=SetModel("lac", scores))
        message = f"take {n} calibration images, .* has {count}$"
        with nullcontext() if enough else pytest.raises(ConfigError, match=message):
            check_coverage(replace(bundle.card, uncertainty=model), percent / 100)


def test_thresholds_of_a_class_take_as_many_images_of_it() -> None:
    card, (own, of_all) = calibrated_bundle(tiny_bundle()).card, (quantiles(np.linspace(0, 1, n)) for n in (120, 1200))
    assert card.uncertainty is not None
    model = SetModel("lac", of_all, classes=(None, own))
    card = replace(card, uncertainty=replace(card.uncertainty, sets=model))
    assert math.inf in model.thresholds(0.995)
    check_coverage(card, 0.99)
    with pytest.raises(ConfigError, match=r"99\.5 % take 199 calibration images of a class, .* has 120$") as caught:
        check_coverage(card, 0.995)
    assert caught.value.hint.endswith("with at least 796 images of each class")


@pytest.mark.parametrize("percent", [0.1, 0.7, 1, 1.4, 3, 5, 7, 50])
def test_the_fewest_images_to_refuse_are_enough_and_one_less_is_not(percent: float) -> None:
    """Less than a fraction: with 99 images the least p-value is 1 %, so that none is below 1 %."""
    n = fewest_to_refuse(percent / 100)
    least = [quantiles(np.linspace(0, 1, count)).p_value(2.0) for count in (n, n - 1)]
    assert least[0] < percent / 100 <= least[1] + 1e-12
