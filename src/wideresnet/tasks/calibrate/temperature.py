"""Temperature scaling (Guo et al., arXiv 1706.04599), scaling by the margin, and the quality of probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import brier, nll, softmax
from wideresnet.records import BILLION, BINS, Bin, MarginScale, Reliability

LIMITS = (0.05, 20.0)                              # of a temperature
_STEPS = 40                                        # of a bisection, to a part in 1e11, or of Newton's method
LEAST_GAIN = 3.84                                  # of twice the log-likelihood; by chance in 1 of 20 cases

Floats = NDArray[np.floating]


def fit_temperature(logits: Floats, labels: NDArray[np.integer]) -> float:
    """Return the T that minimises the negative log-likelihood of softmax(logits / T), within ``LIMITS``.

    By bisection: the loss is convex in 1 / T, and its derivative is the mean logit by softmax(logits / T) less that of
    the labels. 1 if all answers are right: every lower T then fits better, which says nothing about other images.
    """
    if (logits.argmax(1) == labels).all():
        return 1.0
    z = logits.astype(np.float64)
    right = z[np.arange(len(z)), labels].mean()
    low, high = LIMITS
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        too_sure = (softmax(z / middle) * z).sum(1).mean() > right
        low, high = (middle, high) if too_sure else (low, middle)
    return math.sqrt(low * high)


def fit_margin(logits: Floats, labels: NDArray[np.integer]) -> MarginScale | None:
    """Return the scale by the margin that minimises the negative log-likelihood of logits [N, C].

    Returns None if the scale gains less than ``LEAST_GAIN`` over unscaled logits, or would reorder classes, and if all
    answers are right (see ``fit_temperature``). The loss is convex in both numbers and is minimised by Newton's method.
    """
    if (logits.argmax(1) == labels).all():
        return None
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
