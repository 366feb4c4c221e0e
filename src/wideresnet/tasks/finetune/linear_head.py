"""A linear probe: multinomial logistic regression on features that were computed once, in float64 NumPy."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.records import PathPoint
from wideresnet.tasks.finetune.lbfgs import Vector, minimise

Matrix = NDArray[np.float64]

FOLDS = 5
MANY = 2000                                        # images from which on one fold of them judges well enough
RISES = 2                                          # the loss may rise so often in a row before the path ends
LEAST_SPREAD = 0.1                                 # of a feature, as a share of the median of those that move


@dataclass(frozen=True, eq=False)
class Samples:
    """Features float32 [N, V, F], each image in V views of which the first is plain, and labels int64 [N]."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer: features @ weight.T + bias = logits. float32 [C, F] and [C]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Problem:
    """Standardised features float64 [N, V, F], labels [N] and how much each image counts [N], 1 on average."""

    features: Matrix
    labels: NDArray[np.int64]
    weights: Vector
    classes: int

    def some(self, chosen: NDArray[np.bool_]) -> _Problem:
        return _Problem(self.features[chosen], self.labels[chosen], self.weights[chosen], self.classes)


def fit_head(
    samples: Samples, classes: int, l2: Sequence[float], seed: int = 0, *, balanced: bool = True
) -> Generator[PathPoint, None, Head]:
    """The head with the least cross-entropy + l2/2 · |weight|² over standardised features; yields the path of ``l2``.

    The strength is the one with the least cross-entropy on training images that were held out: in ``FOLDS`` turns,
    or once where there are many. The path goes from strong to weak, each fit from where the one before ended, and
    ends when weaker ones only do worse. One ``l2``, or no class of two images: nothing is chosen, the median is
    taken. ``balanced``: each class counts as much as any other, however many images it has.
    """
    centre, spread = samples.features.mean((0, 1), np.float64), _spread(samples.features)
    standardised = (samples.features - centre) / spread
    weights = _balance(samples.labels, classes) if balanced else np.ones(len(samples.labels))
    problem = _Problem(standardised, samples.labels, weights, classes)
    strengths = sorted(l2, reverse=True)
    folds = assign_folds(samples.labels, seed)
    best, start = strengths[len(strengths) // 2], np.zeros(classes * (standardised.shape[2] + 1))
    if len(strengths) > 1 and folds.max(initial=-1) >= 0:
        best, start = yield from _path(problem, strengths, folds)
    fitted = _fit(problem, best, start)
    weight = fitted[:, :-1] / spread
    return Head(weight.astype(np.float32), (fitted[:, -1] - weight @ centre).astype(np.float32))


def assign_folds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The fold in which each image is held out, int64 [N]: as many of each class in each, and -1 for one alone."""
    folds = np.full(len(labels), -1, np.int64)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            folds[members] = np.arange(len(members)) % FOLDS
    return folds


def _path(
    problem: _Problem, strengths: Sequence[float], folds: NDArray[np.int64]
) -> Generator[PathPoint, None, tuple[float, Vector]]:
    """The strength of least loss on held-out images, and what one of the turns found with it."""
    points: list[PathPoint] = []
    turns = [0] if len(folds) >= MANY else sorted(set(folds[folds >= 0].tolist()))
    parts = [(problem.some(folds != turn), problem.some(folds == turn)) for turn in turns]
    fits = [np.zeros(problem.classes * (problem.features.shape[2] + 1))] * len(parts)
    best, found = 0, fits[0]
    for place, strength in enumerate(strengths):
        begun = zip(parts, fits, strict=True)
        fits = [_fit(learnt, strength, fit, tolerance=1e-4).ravel() for (learnt, _), fit in begun]
        points.append(_judged(strength, [(held, fit) for (_, held), fit in zip(parts, fits, strict=True)]))
        yield points[-1]
        if points[place].loss <= points[best].loss:
            best, found = place, fits[0]
        elif place - best >= RISES:
            break
    return strengths[best], found


def _judged(strength: float, turns: Sequence[tuple[_Problem, Vector]]) -> PathPoint:
    """What each turn's fit answers to the images that it did not see."""
    correct, loss, weight = 0, 0.0, 0.0
    for held, fit in turns:
        shares = _log_softmax(_logits(fit.reshape(held.classes, -1), held.features[:, 0]))
        correct += int((shares.argmax(1) == held.labels).sum())
        loss -= float(held.weights @ shares[np.arange(len(shares)), held.labels])
        weight += float(held.weights.sum())
    return PathPoint(strength, sum(len(held.labels) for held, _ in turns), correct, loss / weight)


def _fit(problem: _Problem, l2: float, start: Vector, tolerance: float = 1e-5) -> Matrix:
    """Weight and bias side by side: float64 [C, F + 1]."""
    count, views, features = problem.features.shape
    x = problem.features.reshape(count * views, features)
    labels, weights = problem.labels.repeat(views), problem.weights.repeat(views) / problem.weights.sum() / views
    rows = np.arange(len(x))

    def objective(flat: Vector) -> tuple[float, Vector]:
        both = flat.reshape(problem.classes, features + 1)
        shares = _log_softmax(_logits(both, x))
        loss = -float(weights @ shares[rows, labels]) + l2 / 2 * float((both[:, :-1] ** 2).sum())
        error = np.exp(shares)
        error[rows, labels] -= 1
        error *= weights[:, None]
        gradient = np.column_stack((error.T @ x + l2 * both[:, :-1], error.sum(0)))
        return loss, gradient.ravel()

    return minimise(objective, start, tolerance).reshape(problem.classes, features + 1)


def _logits(both: Matrix, x: Matrix) -> Matrix:
    logits: Matrix = x @ both[:, :-1].T + both[:, -1]
    return logits


def _log_softmax(logits: Matrix) -> Matrix:
    shifted = logits - logits.max(1, keepdims=True)
    shares: Matrix = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return shares


def _balance(labels: NDArray[np.int64], classes: int) -> Vector:
    counts = np.bincount(labels, minlength=classes)
    weights: Vector = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return weights


def _spread(features: NDArray[np.float32]) -> Vector:
    """Standard deviations [F]. A feature that hardly moved while learning would else decide alone when it does."""
    spread = features.std((0, 1), np.float64)
    moving = spread[spread > 0]
    floored: Vector = np.maximum(spread, LEAST_SPREAD * float(np.median(moving)) if len(moving) else 1.0)
    return floored
