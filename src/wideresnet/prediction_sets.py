"""Prediction sets: the classes that an image may show, by split conformal prediction (see ``records.SetModel``)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError
from wideresnet.logits import softmax
from wideresnet.records import Alpha, Batch, EngineInfo, Labels, ModelCard, Prediction, SetMethod, SetModel, Uncertainty

Scores = NDArray[np.float64]
PERCENT = 50, 99.9                                 # the least and the largest coverage


def set_scores(logits: NDArray[np.floating], model: SetModel, draws: Scores) -> Scores:
    """Return the score of each class [N, C] of logits [N, C]; ``draws`` [N] in [0, 1) are for "raps"."""
    probabilities = softmax(logits)
    if model.method == "lac":
        return 1 - probabilities
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    penalties = model.penalty * np.maximum(0, np.arange(1, logits.shape[1] + 1) - model.free_ranks)
    ordered = ordered.cumsum(1) - (1 - draws[:, None]) * ordered + penalties
    scores: Scores = np.empty_like(ordered)
    np.put_along_axis(scores, order, ordered, axis=1)
    return scores


def prediction_sets(logits: NDArray[np.floating], model: SetModel, coverage: float, draws: Scores) -> NDArray[np.bool_]:
    """Return which classes are in the set of each image, bool [N, C]. ``coverage`` is in (0, 1).

    The likeliest class always is, also where its score is beyond the threshold: this only adds to the coverage.
    """
    members: NDArray[np.bool_] = set_scores(logits, model, draws) <= np.array(model.thresholds(coverage))
    members[np.arange(len(logits)), logits.argmax(1)] = True
    return members


def set_draws(pixels: NDArray[np.uint8], method: SetMethod) -> Scores:
    """Return the draws of N crops [N, S, S, 3] for ``set_scores``: zeros for "lac", which takes none."""
    return image_draws(pixels) if method == "raps" else np.zeros(len(pixels))


def image_draws(pixels: NDArray[np.uint8]) -> Scores:
    """Return a number in [0, 1) for each of N crops [N, S, S, 3], as if drawn at random: from a hash of its pixels.

    The same image has the same number in any batch, engine or process.
    """
    hashes = (hashlib.blake2b(crop.tobytes(), digest_size=8).digest() for crop in pixels)
    return np.array([int.from_bytes(digest, "big") / 2**64 for digest in hashes])


def check_fraction(coverage: float) -> None:
    """Raise ConfigError if ``coverage`` is not a number or looks like a percentage."""
    if not isinstance(coverage, Real) or isinstance(coverage, bool):
        raise ConfigError(f"coverage must be a number, got {coverage!r}", hint="coverage=0.95")
    least, most = PERCENT
    if least <= coverage <= 100:
        raise ConfigError(f"coverage is a fraction, got {coverage:g}", hint=f"coverage={min(coverage, most) / 100:g}")


def check_coverage(card: ModelCard, coverage: float, name: str = "") -> None:
    """Raise ConfigError if a model has no prediction sets of this coverage, a fraction; 0 asks for none.

    ``name`` is that by which the user calls the model.
    """
    check_fraction(coverage)
    if not coverage:
        return
    least, most = PERCENT
    if not least <= round(100 * coverage, 6) <= most:
        raise ConfigError(f"the coverage of prediction sets is from {least} to {most} %, got {100 * coverage:g} %")
    command = f"wrn calibrate -m {name or card.name} --data LABELLED -o BUNDLE"
    if card.cascade:
        problem = f"{card.name} has no prediction sets: cascades are not calibrated"
        raise ConfigError(problem, hint="use one of its networks that is calibrated")
    if card.uncertainty is None and "uncertainty" in card.notes:
        problem = f"{card.name} has no prediction sets: its calibration holds for one precision and preprocessing"
        raise ConfigError(problem, hint="use the model as it was calibrated, or write this with 'wrn compile --data'")
    if card.uncertainty is None:
        raise ConfigError(f"{card.name} has no prediction sets: it is not calibrated", hint=command)
    sets, needed = card.uncertainty.sets, fewest_images(coverage)
    n = sets.n
    if n < needed:                                 # thresholds would be infinite
        of_class, per_class = (" of a class", " of each class") if n < sets.scores.n else ("", "")
        problem = f"sets with {100 * coverage:g} % take {needed:,} calibration images{of_class}, {card.name} has {n:,}"
        raise ConfigError(problem, hint=f"{command}, with at least {4 * needed:,} images{per_class}")


def precision_notes(card: ModelCard, engine: EngineInfo) -> tuple[str, ...]:
    """Return a sentence if a calibrated model computes in bf16, or a cascade otherwise than where it was certified."""
    if card.cascade and (card.cascade.engine, card.cascade.precision) != (engine.runtime, engine.precision):
        certified, runs = f"{card.cascade.engine} {card.cascade.precision}", f"{engine.runtime} {engine.precision}"
        return (f"certified in {certified}: images near a threshold are answered otherwise in {runs}, not guaranteed",)
    sentence = "calibrated in f32: probabilities and sets in bf16 are close to it, and not guaranteed"
    return (sentence,) if card.uncertainty and engine.precision == "bf16" else ()


def alpha_notes(card: ModelCard, alpha: Alpha | None) -> tuple[str, ...]:
    """Return a sentence if a calibrated model is to treat transparent images otherwise than its card says."""
    sentence = "calibrated with another alpha: probabilities and sets of transparent images are not guaranteed"
    return (sentence,) if card.uncertainty and alpha not in (None, card.preprocess.alpha) else ()


def fewest_images(coverage: float) -> int:
    """Return the fewest calibration images that prediction sets of a coverage take: n with coverage <= n / (n + 1)."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def fewest_to_refuse(fraction: float) -> int:
    """Return the fewest calibration images of which a p-value can be below ``fraction``: n with 1 / (n + 1) less."""
    return math.floor(1 / fraction + 1e-9)


def add_uncertainty(
    answers: Sequence[Prediction], batch: Batch, logits: NDArray[np.float32], labels: Labels, model: Uncertainty,
    coverage: float = 0,
) -> list[Prediction]:  # fmt: skip
    """Return the answers to a batch with ``p_known`` and ``unknown``, and with sets of this ``coverage`` unless 0."""
    sets: list[tuple[str, ...] | None] = [None] * len(answers)
    if coverage:
        members = batch_sets(batch, logits, model, coverage)
        order = np.argsort(-logits, axis=1, kind="stable").tolist()
        sets = [
            tuple(labels.names[index] for index in indices if member[index])
            for indices, member in zip(order, members, strict=True)
        ]
    return [
        replace(answer, set=labels_in_set, p_known=p_value, unknown=p_value < model.unknown.refused)
        for answer, labels_in_set, p_value in zip(answers, sets, p_values(batch, model), strict=True)
    ]


def batch_sets(batch: Batch, logits: NDArray[np.float32], model: Uncertainty, coverage: float) -> NDArray[np.bool_]:
    """Return which classes are in the sets of a batch's images, bool [N, C]."""
    return prediction_sets(logits, model.sets, coverage, set_draws(batch.pixels, model.sets.method))


def p_values(batch: Batch, model: Uncertainty) -> list[float]:
    """Return the p-value of each image of a batch that has run. An image without a finite score is not known at all."""
    scores = batch.known_scores if batch.known_scores is not None else np.empty(0)
    unfamiliar = np.where(np.isfinite(scores), -scores, np.inf)
    return [model.unknown.scores.p_value(score) for score in unfamiliar.tolist()]
