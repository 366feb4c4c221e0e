"""Temperature scaling (Guo et al., arXiv 1706.04599), scaling by the margin, and the quality of probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import brier, nll, softmax
from wideresnet.records import BILLION, BINS, Bin, MarginScale, Reliability

LIMITS = (0.05, 20.0)                              # of a temperature
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40                                        # the interval shrinks to 1e-8 of its width
LEAST_GAIN = 3.84                                  # of twice the log-likelihood; by chance in 1 of 20 cases

Floats = NDArray[np.floating]


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the T that minimises the negative log-likelihood of softmax(logits / T), within ``LIMITS``.

    By golden-section search: the loss is convex in 1 / T, and so has a single minimum.
    """
    values = logits.astype(np.float64)
    low, high = (math.log(limit) for limit in LIMITS)
    return math.exp(_minimise(lambda log_t: mean_nll(values * math.exp(-log_t), labels), low, high))


def fit_margin(logits: Floats, labels: NDArray[np.integer]) -> MarginScale | None:
    """Return the scale by the margin that minimises the negative log-likelihood of logits [N, C].

    Returns None if the scale gains less than ``LEAST_GAIN`` over unscaled logits, or would reorder classes. The loss is
    convex in both numbers and is minimised by Newton's method.
    """
    z = logits.astype(np.float64)
    second, largest = np.partition(z, -2, axis=1)[:, -2:].T
    inputs = np.stack([z, z * (largest - second)[:, None]])      # [2, N, C]; times the numbers: the scaled logits
    right = inputs[:, np.arange(len(z)), labels]
    numbers = np.array([1.0, 0.0])
    loss = before = mean_nll(z, labels)
    for _ in range(_STEPS):
        weighted = inputs * softmax(np.tensordot(numbers, inputs, 1))
        means = weighted.sum(2)
        curvature = np.tensordot(weighted, inputs, ([1, 2], [1, 2])) - means @ means.T
        step = np.linalg.lstsq(curvature, (means - right).sum(1))[0]
        while (new := mean_nll(np.tensordot(numbers - step, inputs, 1), labels)) > loss and np.abs(step).max() > 1e-9:
            step /= 2
        if new >= loss:
            break
        numbers, loss = numbers - step, new
    offset, slope = numbers.tolist()
    gain = 2 * len(z) * (before - loss)
    return MarginScale(offset, slope) if gain > LEAST_GAIN and offset > 0 and slope > 0 else None


def mean_nll(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the labels [N] by logits [N, C], in nats."""
    return float(nll(logits, labels).mean())


def reliability(logits: Floats, labels: NDArray[np.integer]) -> Reliability:
    """Return the quality of the probabilities of logits [N, C] for images of classes ``labels`` [N]."""
    probabilities = softmax(logits)
    right = np.arange(logits.shape[1]) == labels[:, None]
    confidence, correct = probabilities.max(1), logits.argmax(1) == labels
    by_class = zip(probabilities.T, right.T, strict=True)
    return Reliability(
        len(labels), mean_nll(logits, labels), float(brier(probabilities, labels).mean()),
        calibration_error(confidence, correct),
        float(np.mean([calibration_error(column, is_class) for column, is_class in by_class])),
    )  # fmt: skip


def confidence_bins(logits: Floats, labels: NDArray[np.integer]) -> tuple[Bin, ...]:
    """Return the ``BINS`` of images by the probability of their answer."""
    confidence, correct = softmax(logits).max(1), logits.argmax(1) == labels
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    sums = (np.bincount(index, weights, BINS).tolist() for weights in (None, correct, confidence))
    return tuple(Bin(int(n), int(right), round(total * BILLION)) for n, right, total in zip(*sums, strict=True))


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
