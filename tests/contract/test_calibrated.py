"""One contract for calibrated graphs: every engine gives calibrated logits and the same known score."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from fakes import NETWORKS, calibrated_bundle, tiny_bundle, tiny_images
from wideresnet.bundle import Bundle, read_bundle, write_bundle
from wideresnet.bundle.derive import as_float32, uncalibrated, with_preprocess
from wideresnet.classifier import Classifier
from wideresnet.client import Client
from wideresnet.engines import ENGINES, open_engine
from wideresnet.engines.features import open_features
from wideresnet.errors import BundleError, ConfigError
from wideresnet.graph.check import check_graph
from wideresnet.graph.outputs import margin_of, read_classifier
from wideresnet.records import MarginScale, UnknownMethod
from wideresnet.tasks.calibrate.unknown import neighbours
from wideresnet.tasks.load.load import open_classifier

IMAGES = tiny_images(6, 32)
METHODS = get_args(UnknownMethod)
MARGIN = MarginScale(0.8, 0.25)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip({"pytorch": "torch"}.get(request.param, request.param))
    return str(request.param)


@cache
def plain(name: str = "wrn_10_1") -> Bundle:
    return tiny_bundle(NETWORKS[name])


@cache
def calibrated(method: UnknownMethod = "knn", margin: MarginScale | None = None) -> Bundle:
    return calibrated_bundle(plain(), method=method, margin=margin)


def expected(method: UnknownMethod) -> np.ndarray:
    """The known score by its definition, from the uncalibrated network; a bank of 40 images."""
    bank, outputs = (open_features(plain(), ["features"])(images) for images in (tiny_images(40, 32), IMAGES))
    logits, features = outputs["logits"].astype(float) / 0.5, outputs["features"].astype(float)
    energy = np.log(np.exp(logits).sum(1))
    match method:
        case "max-logit":
            return logits.max(1)
        case "max-softmax":
            return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).max(1)
        case "energy":
            return energy
        case "knn":
            unit, of_bank = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, bank["features"]))
            return np.sort(unit @ of_bank.T)[:, -neighbours(40, 10)]
        case "vim":
            centre = bank["features"].mean(0)
            _, _, axes = np.linalg.svd(bank["features"] - centre)
            rest = axes[len(axes) // 2 :]
            norms = [np.linalg.norm((x - centre) @ rest.T, axis=1) for x in (features, bank["features"])]
            return energy - norms[0] * (bank["logits"] / 0.5).max(1).mean() / norms[1].mean()
        case "mahalanobis":
            answers, values = bank["logits"].argmax(1), bank["features"].astype(float)
            means = {label: values[answers == label].mean(0) for label in np.unique(answers)}
            within = np.linalg.pinv(np.mean([np.outer(d, d) for d in values - [means[a] for a in answers]], 0), 1e-7)
            around = np.linalg.pinv(np.mean([np.outer(d, d) for d in values - values.mean(0)], 0), 1e-7)
            nearest = np.min([[(f - m) @ within @ (f - m) for m in means.values()] for f in features], axis=1)
            return np.array([d @ around @ d for d in features - values.mean(0)]) - nearest


@pytest.mark.parametrize("method", METHODS)
def test_known_scores_are_those_of_the_definition(engine: str, method: UnknownMethod) -> None:
    run = open_engine(calibrated(method), engine)
    logits, scores = next(run.outputs([IMAGES]))
    np.testing.assert_allclose(logits, open_engine(plain(), engine)(IMAGES) / 0.5, atol=1e-4)
    np.testing.assert_allclose(scores.ravel(), expected(method), rtol=2e-3, atol=5e-3)
    np.testing.assert_allclose(run(IMAGES), logits, atol=1e-5)      # also without the further output


@pytest.mark.parametrize("method", ["knn", "vim", "energy"])
def test_a_margin_scale_multiplies_the_logits_alone(engine: str, method: UnknownMethod) -> None:
    run = open_engine(calibrated(method, MARGIN), engine)
    logits, scores = next(run.outputs([IMAGES]))
    plain_logits = open_engine(plain(), engine)(IMAGES).astype(float) / 0.5
    ordered = np.sort(plain_logits)
    factors = 0.8 + 0.25 * (ordered[:, -1] - ordered[:, -2])
    np.testing.assert_allclose(logits, plain_logits * factors[:, None], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(scores.ravel(), expected(method), rtol=2e-3, atol=5e-3)
    np.testing.assert_allclose(run(IMAGES), logits, atol=1e-5)
    np.testing.assert_allclose(run(IMAGES[:1]), logits[:1], atol=1e-4)


def test_a_bundle_keeps_its_margin_scale(tmp_path: Path) -> None:
    bundle = calibrated(margin=MARGIN)
    check_graph(bundle.model)
    write_bundle(tmp_path / "b", bundle)
    again = read_bundle(tmp_path / "b")
    assert again.card.uncertainty is not None
    assert again.card.uncertainty.margin == MARGIN
    assert uncalibrated(again).graph == plain().graph


@pytest.mark.parametrize("on_card", [None, MarginScale(0.8, 0.3)])
def test_a_margin_scale_that_is_not_the_graphs_is_refused(tmp_path: Path, on_card: MarginScale | None) -> None:
    bundle = calibrated(margin=MARGIN)
    assert bundle.card.uncertainty is not None
    card = replace(bundle.card, uncertainty=replace(bundle.card.uncertainty, margin=on_card))
    write_bundle(tmp_path / "b", replace(bundle, card=card))
    with pytest.raises(BundleError, match="margin scale is"):
        read_bundle(tmp_path / "b")


def test_a_margin_scale_that_reorders_classes_is_refused() -> None:
    with pytest.raises(BundleError, match="the scale of the logits is damaged"):
        margin_of(calibrated(margin=MarginScale(-1.0, 0.25)).model)


def test_scores_do_not_depend_on_the_batch(engine: str) -> None:
    classifier = open_classifier(calibrated(), engine)
    alone = [classifier.classify(image)[0] for image in IMAGES]
    for one, many in zip(alone, classifier.classify(IMAGES, batch_size=4), strict=True):
        assert one.p_known == many.p_known
        assert one.unknown == (one.p_known is not None and one.p_known < 0.3)


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_graphs_pass_the_check_of_strangers(method: UnknownMethod) -> None:
    check_graph(calibrated(method).model)


def test_images_of_black_have_a_score() -> None:
    """Features of zero have no direction: the score is a number all the same."""
    (answer,) = open_classifier(calibrated()).classify(np.zeros((1, 32, 32, 3), np.uint8))
    assert answer.p_known is not None


def test_features_of_a_calibrated_model_are_those_of_the_network() -> None:
    ours, theirs = (open_features(bundle, ["map", "features"])(IMAGES) for bundle in (calibrated(), plain()))
    assert list(ours) == ["logits", "map", "features"]
    np.testing.assert_allclose(ours["features"], theirs["features"], atol=1e-5)
    weight, bias = read_classifier(calibrated().model)
    np.testing.assert_allclose(ours["features"] @ weight.T + bias, ours["logits"], atol=1e-4)


def test_derived_models_have_no_calibration() -> None:
    """Their answers are those of the uncalibrated network."""
    spec, logits = calibrated().card.preprocess, open_engine(plain())(IMAGES)
    resized = with_preprocess(with_preprocess(calibrated(), spec.at(64)), spec)
    for bundle in (uncalibrated(calibrated()), as_float32(calibrated()), resized):
        assert bundle.card.uncertainty is None
        np.testing.assert_allclose(open_engine(bundle)(IMAGES), logits, atol=1e-5)
    assert uncalibrated(calibrated()).graph == plain().graph
    assert "dropped" in as_float32(calibrated()).card.notes["uncertainty"]


def test_the_same_preprocessing_keeps_the_calibration() -> None:
    assert with_preprocess(calibrated(), calibrated().card.preprocess) is calibrated()


def test_prediction_sets_hold_the_likeliest_class_first(engine: str) -> None:
    classifier: Classifier = open_classifier(calibrated(), engine)
    for answer in classifier.classify(IMAGES, k=10, coverage=0.75):
        inside = [score.label for score in answer.predictions if score.probability >= 0.2]      # 1 - 0.8
        assert answer.set == tuple(inside or [answer.predictions[0].label])


@pytest.mark.parametrize(
    ("coverage", "message", "hint"),
    [
        (95, "coverage is a fraction, got 95", "coverage=0.95"),
        (100, "coverage is a fraction, got 100", "coverage=0.999"),
        ("95", "coverage must be a number, got '95'", "coverage=0.95"),
        (None, "coverage must be a number, got None", "coverage=0.95"),
        (True, "coverage must be a number, got True", "coverage=0.95"),
    ],
)
def test_a_coverage_that_is_no_fraction_is_refused(coverage: Any, message: str, hint: str) -> None:
    for call in (open_classifier(calibrated()).classify, Client("http://127.0.0.1:9").classify):
        with pytest.raises(ConfigError) as caught:
            call(b"no image", coverage=coverage)
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_numpys_numbers_are_coverages() -> None:
    (answer,) = open_classifier(calibrated()).classify(IMAGES[:1], coverage=float(np.float32(0.75)))
    assert answer.set == open_classifier(calibrated()).classify(IMAGES[:1], coverage=np.float64(0.75))[0].set
