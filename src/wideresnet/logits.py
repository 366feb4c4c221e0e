"""Softmax, top-k and deviations of logits."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, EngineError
from wideresnet.records import CertaintyMeasure, Labels, LabelScore

# Up to this k, k passes of argmax are faster than one stable sort (64 x 1000, k = 5: 0.4 ms against 3 ms), unless there
# are no more values than this (1 x 10, k = 5: 57 µs against 7).
ARGMAX_LIMIT, FEW_VALUES = 16, 256


def top_k(logits: NDArray[np.float32], labels: Labels, k: int) -> list[tuple[LabelScore, ...]]:
    """Return the min(k, C) most probable classes of each row of float32 [N, C], most probable first.

    Ties: the lower index first. Raises EngineError if the logits are not finite or C is not the number of labels;
    ConfigError if k is not an integer from 1.
    """
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ConfigError(f"k must be an integer from 1, got {k!r}", hint="k=5")
    if logits.ndim != 2 or logits.shape[1] != len(labels.names):
        problem = f"logits of shape {list(logits.shape)} do not fit {len(labels.names)} labels"
        raise EngineError(problem, hint="give the labels of this network")
    check_logits(logits)
    best = largest(logits, k)
    probabilities = softmax(logits)[np.arange(len(logits))[:, None], best]
    return [
        tuple(LabelScore(i, labels.names[i], p) for i, p in zip(indices, scores, strict=True))
        for indices, scores in zip(best.tolist(), probabilities.tolist(), strict=True)
    ]


def check_logits(logits: NDArray[np.float32]) -> None:
    """Raise EngineError if logits [N, C] are NaN or infinite."""
    if not np.isfinite(logits).all():
        rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        problem = f"logits are not finite for {len(rows)} of {len(logits)} images"
        raise EngineError(problem, hint="try f32, in case the precision overflows; else the weights are damaged")


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities [N, C] in [0, 1] whose rows sum to 1, without overflow for large logits."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values


def nll(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the negative log-likelihood of the labels [N] by logits [N, C], in nats: [N]."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]


def brier(probabilities: NDArray[np.float64], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the squared error of probabilities [N, C] for images of classes ``labels`` [N], summed: [N]."""
    errors = probabilities.copy()
    errors[np.arange(len(labels)), labels] -= 1
    return (errors**2).sum(1)


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Return the indices [N, min(k, C)] of the largest finite values [N, C], largest first, ties by index."""
    k = min(k, values.shape[1])
    if k > ARGMAX_LIMIT or values.size <= FEW_VALUES:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    remaining = values.copy()
    rows = np.arange(len(remaining))
    best = np.empty((len(remaining), k), np.intp)
    for rank in range(k):
        best[:, rank] = remaining.argmax(axis=1)        # the first of equals
        remaining[rows, best[:, rank]] = -np.inf
    return best


def certainty(logits: NDArray[np.float32], measure: CertaintyMeasure, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return how sure softmax(logits / temperature) is of its answer, in [0, 1]: [N, C] -> [N], C at least 2.

    "margin": the largest probability less the second one. "max-softmax": the largest. "entropy": 1 less the entropy as
    a fraction of that of equal probabilities. A row's value does not depend on the other rows.
    """
    probabilities = softmax(np.asarray(logits, np.float64, order="C") / temperature)
    if measure == "entropy":
        logarithms = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
        return 1 + (probabilities * logarithms).sum(axis=1) / np.log(logits.shape[1])
    second, largest = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return largest - second if measure == "margin" else largest


def divergence(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Kullback-Leibler divergence of each row from the reference's, in nats: [N, C] -> [N]."""
    p, q = softmax(reference), softmax(logits)
    tiny = np.finfo(np.float64).tiny
    return (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum(axis=1)


def deviation(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Return the RMS difference of logits [N, C], relative to the reference's standard deviation."""
    return float(np.sqrt(np.mean((logits - reference) ** 2)) / reference.std())
