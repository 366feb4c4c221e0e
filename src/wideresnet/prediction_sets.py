"""Prediction sets: the classes that an image may show, by split conformal prediction (see ``records.SetModel``)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import softmax
from wideresnet.records import SetModel

Scores = NDArray[np.float64]


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


def prediction_sets(
    logits: NDArray[np.floating], model: SetModel, coverage: float, draws: Scores
) -> NDArray[np.bool_]:
    """Return which classes are in the set of each image, bool [N, C]. ``coverage`` is in (0, 1).

    The likeliest class always is, also where its score is beyond the threshold: this only adds to the coverage.
    """
    members: NDArray[np.bool_] = set_scores(logits, model, draws) <= np.array(model.thresholds(coverage))
    members[np.arange(len(logits)), logits.argmax(1)] = True
    return members


def image_draws(pixels: NDArray[np.uint8]) -> Scores:
    """Return a number in [0, 1) for each of N crops [N, S, S, 3], as if drawn at random: from a hash of its pixels.

    The same image has the same number in any batch, engine or process.
    """
    hashes = (hashlib.blake2b(crop.tobytes(), digest_size=8).digest() for crop in pixels)
    return np.array([int.from_bytes(digest, "big") / 2**64 for digest in hashes])
