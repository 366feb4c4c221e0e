"""Temperature scaling (Guo et al., arXiv 1706.04599), and the quality of probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import softmax
from wideresnet.records import BINS, Reliability

LIMITS = (0.05, 20.0)                              # of a temperature
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40                                        # the interval shrinks to 1e-8 of its width

Floats = NDArray[np.floating]


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the T that minimises the negative log-likelihood of softmax(logits / T), within ``LIMITS``.

    By golden-section search: the loss is convex in 1 / T, and so has a single minimum.
    """
    values = logits.astype(np.float64)
    low, high = (math.log(limit) for limit in LIMITS)
    return math.exp(_minimise(lambda log_t: mean_nll(values * math.exp(-log_t), labels), low, high))


def mean_nll(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the labels [N] by logits [N, C], in nats."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(1)) - right).mean())


def reliability(logits: Floats, labels: NDArray[np.integer]) -> Reliability:
    """Return the quality of the probabilities of logits [N, C] for images of classes ``labels`` [N]."""
    probabilities = softmax(logits)
    right = np.arange(logits.shape[1]) == labels[:, None]
    confidence, correct = probabilities.max(1), logits.argmax(1) == labels
    by_class = zip(probabilities.T, right.T, strict=True)
    return Reliability(
        len(labels), mean_nll(logits, labels), float(((probabilities - right) ** 2).sum(1).mean()),
        calibration_error(confidence, correct),
        float(np.mean([calibration_error(column, is_class) for column, is_class in by_class])),
    )  # fmt: skip


def calibration_error(probabilities: Floats, correct: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over ``BINS`` bins of equal width: probabilities and outcomes [N]."""
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=probabilities - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))


def _minimise(loss: Callable[[float], float], low: float, high: float) -> float:
    """Return where ``loss`` with a single minimum is least between ``low`` and ``high``."""
    lower, upper = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    loss_lower, loss_upper = loss(lower), loss(upper)
    for _ in range(_STEPS):
        if loss_lower < loss_upper:
            high, upper, loss_upper = upper, lower, loss_lower
            lower = high - _GOLDEN * (high - low)
            loss_lower = loss(lower)
        else:
            low, lower, loss_lower = lower, upper, loss_upper
            upper = low + _GOLDEN * (high - low)
            loss_upper = loss(upper)
    return (low + high) / 2
