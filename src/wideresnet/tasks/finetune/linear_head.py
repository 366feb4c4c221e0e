"""Multinomial logistic regression with L2 on features, in float64 NumPy."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wideresnet.records import PathPoint
from wideresnet.tasks.finetune.lbfgs import Vector, minimise

Matrix = NDArray[np.float64]

FOLDS = 5
SINGLE_FOLD_IMAGES = 2000                          # from this number on, only one of the folds is held out
MAX_RISES = 2                                      # consecutive strengths of no lower loss that end the path
MIN_STD = 0.1                                      # of a feature, as a fraction of the median of the non-constant ones


@dataclass(frozen=True, eq=False)
class Samples:
    """Features float32 [N, V, F] of V views per image, the first of them unchanged, and labels int64 [N]."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer, logits = features @ weight.T + bias: float32 [C, F] and [C]; ``path``: the strengths tried."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    path: tuple[PathPoint, ...] = ()


@dataclass(frozen=True, eq=False)
class _Problem:
    """Standardised features float64 [N, V, F], labels [N], and weights of the images [N] with a mean of 1."""

    features: Matrix
    labels: NDArray[np.int64]
    weights: Vector
    classes: int

    def subset(self, rows: NDArray[np.bool_]) -> _Problem:
        return _Problem(self.features[rows], self.labels[rows], self.weights[rows], self.classes)


def fit_head(
    samples: Samples, classes: int, l2: Sequence[float], seed: int = 0, *, balanced: bool = True
) -> Generator[PathPoint, None, Head]:
    """Fit the head that minimises cross-entropy + l2/2 · |weight|² over standardised features.

    Yields a point for each strength of ``l2`` that is tried, from strong to weak, and returns the head for the one
    with the lowest cross-entropy on held-out training images: in ``FOLDS`` turns, or one if there are many images.
    The path ends when weaker strengths do not lower the loss. With one strength, or no class of two images, nothing can
    be selected: the median strength is used. ``balanced``: each class has the same total weight.
    """
    centre, std = samples.features.mean((0, 1), np.float64), _floored_std(samples.features)
    standardised = (samples.features - centre) / std
    weights = _balanced_weights(samples.labels, classes) if balanced else np.ones(len(samples.labels))
    problem = _Problem(standardised, samples.labels, weights, classes)
    strengths, path = sorted(l2, reverse=True), tuple[PathPoint, ...]()
    folds = assign_folds(samples.labels, seed)
    best, start = strengths[len(strengths) // 2], np.zeros(classes * (standardised.shape[2] + 1))
    if len(strengths) > 1 and folds.max(initial=-1) >= 0:
        path, best, start = yield from _select_strength(problem, strengths, folds)
    fitted = _fit(problem, best, start)
    weight = fitted[:, :-1] / std
    return Head(weight.astype(np.float32), (fitted[:, -1] - weight @ centre).astype(np.float32), path)


def assign_folds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the fold in which each image is held out, stratified by class: int64 [N]; -1 for a class's only image."""
    folds = np.full(len(labels), -1, np.int64)
    rng = np.random.default_rng(seed)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            folds[members] = np.arange(len(members)) % FOLDS
    return folds


def _select_strength(
    problem: _Problem, strengths: Sequence[float], folds: NDArray[np.int64]
) -> Generator[PathPoint, None, tuple[tuple[PathPoint, ...], float, Vector]]:
    """Return the path, the strength of lowest held-out loss, of equals the strongest, and a fit of it."""
    points: list[PathPoint] = []
    turns = [0] if len(folds) >= SINGLE_FOLD_IMAGES else sorted(set(folds[folds >= 0].tolist()))
    splits = [(problem.subset(folds != turn), problem.subset(folds == turn)) for turn in turns]
    fits = [np.zeros(problem.classes * (problem.features.shape[2] + 1))] * len(splits)
    best, best_fit = 0, fits[0]
    for index, strength in enumerate(strengths):
        # Each fit starts from that of the previous strength.
        starts = zip(splits, fits, strict=True)
        fits = [_fit(train, strength, start, tolerance=1e-4).ravel() for (train, _), start in starts]
        points.append(_evaluate(strength, [(test, fit) for (_, test), fit in zip(splits, fits, strict=True)]))
        yield points[-1]
        if not index or points[index].loss < points[best].loss:
            best, best_fit = index, fits[0]
        elif index - best >= MAX_RISES:
            break
    return tuple(points), strengths[best], best_fit


def _evaluate(strength: float, turns: Sequence[tuple[_Problem, Vector]]) -> PathPoint:
    """Evaluate each turn's fit on the images that were held out of it."""
    correct, loss, weight = 0, 0.0, 0.0
    for test, fit in turns:
        log_probabilities = _log_softmax(_logits(fit.reshape(test.classes, -1), test.features[:, 0]))
        correct += int((log_probabilities.argmax(1) == test.labels).sum())
        loss -= float(test.weights @ log_probabilities[np.arange(len(test.labels)), test.labels])
        weight += float(test.weights.sum())
    return PathPoint(strength, sum(len(test.labels) for test, _ in turns), correct, loss / weight)


def _fit(problem: _Problem, l2: float, start: Vector, tolerance: float = 1e-5) -> Matrix:
    """Return weight and bias side by side: float64 [C, F + 1]."""
    count, views, features = problem.features.shape
    x = problem.features.reshape(count * views, features)
    labels, weights = problem.labels.repeat(views), problem.weights.repeat(views) / problem.weights.sum() / views
    rows = np.arange(len(x))

    def objective(flat: Vector) -> tuple[float, Vector]:
        parameters = flat.reshape(problem.classes, features + 1)
        weight = parameters[:, :-1]
        log_probabilities = _log_softmax(_logits(parameters, x))
        loss = -float(weights @ log_probabilities[rows, labels]) + l2 / 2 * float((weight**2).sum())
        error = np.exp(log_probabilities)
        error[rows, labels] -= 1
        error *= weights[:, None]
        return loss, np.column_stack((error.T @ x + l2 * weight, error.sum(0))).ravel()

    return minimise(objective, start, tolerance).reshape(problem.classes, features + 1)


def _logits(parameters: Matrix, x: Matrix) -> Matrix:
    return x @ parameters[:, :-1].T + parameters[:, -1]


def _log_softmax(logits: Matrix) -> Matrix:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _balanced_weights(labels: NDArray[np.int64], classes: int) -> Vector:
    counts = np.bincount(labels, minlength=classes)
    return len(labels) / (np.count_nonzero(counts) * counts[labels])


def _floored_std(features: NDArray[np.float32]) -> Vector:
    """Return standard deviations [F] with a lower limit: an almost constant feature would dominate when it varies."""
    std = features.std((0, 1), np.float64)
    varying = std[std > 0]
    return np.maximum(std, MIN_STD * float(np.median(varying)) if len(varying) else 1.0)
