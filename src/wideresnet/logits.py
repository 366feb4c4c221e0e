"""Logits to answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, EngineError
from wideresnet.records import Labels, LabelScore

# Up to here k passes of argmax beat one stable sort (64 x 1000, k = 5: 0.4 ms against 3 ms).
FEW = 16


def top_k(logits: NDArray[np.float32], labels: Labels, k: int) -> list[tuple[LabelScore, ...]]:
    """float32 [N, C] -> for each row its min(k, C) likeliest classes, likeliest first.

    Equal logits: the lower index first. Raises EngineError when the logits are not finite or not
    of as many classes as there are labels; ConfigError when k < 1.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    if logits.ndim != 2 or logits.shape[1] != len(labels.names):
        raise EngineError(
            f"logits of shape {list(logits.shape)} do not fit {len(labels.names)} labels",
            hint="the labels belong to another network",
        )
    refuse_infinite(logits)
    best = largest(logits, k)
    probabilities = np.take_along_axis(softmax(logits), best, axis=1)
    return [
        tuple(LabelScore(i, labels.names[i], p) for i, p in zip(indices, scores, strict=True))
        for indices, scores in zip(best.tolist(), probabilities.tolist(), strict=True)
    ]


def refuse_infinite(logits: NDArray[np.float32]) -> None:
    """Raises EngineError for logits [N, C] that are nan or infinite."""
    if not np.isfinite(logits).all():
        rows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        raise EngineError(
            f"logits are not finite for {len(rows)} of {len(logits)} images",
            hint="the weights are damaged, or the precision overflows: try f32",
        )


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N, C] -> probabilities in [0, 1], rows sum to 1; no logit is too large for it."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    np.exp(wide, out=wide)
    wide /= wide.sum(axis=1, keepdims=True)
    return wide


def largest(values: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """[N, C], finite -> indices [N, min(k, C)] of the largest, largest first, ties by index."""
    k = min(k, values.shape[1])
    if k > FEW:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    left = values.copy()
    rows = np.arange(len(left))
    best = np.empty((len(left), k), np.intp)
    for rank in range(k):
        best[:, rank] = left.argmax(axis=1)        # the first of equals
        left[rows, best[:, rank]] = -np.inf
    return best


def divergence(reference: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Kullback-Leibler divergence of each answer from the reference's, nats: logits [N, C] -> [N]."""
    p, q = softmax(reference), softmax(other)
    tiny = np.finfo(np.float64).tiny
    divergences: NDArray[np.float64] = (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(q, tiny)))).sum(axis=1)
    return divergences


def deviation(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Root mean square of the difference of logits [N, C] over the reference's standard deviation."""
    return float(np.sqrt(np.mean((other - reference) ** 2)) / reference.std())
