"""Split conformal prediction: thresholds from the scores of calibration images, and their measurement on others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wideresnet.logits import softmax
from wideresnet.prediction_sets import prediction_sets, set_scores
from wideresnet.records import ScoreQuantiles, Selective, SetCoverage, SetMethod, SetModel
from wideresnet.records.accuracy import error_bound

LEVELS = (0.90, 0.95, 0.99)                        # of coverage that are measured
ERRORS = (0.005, 0.01, 0.02, 0.05)                 # that selective answers may make
DELTA = 0.05                                       # the probability that the bound of selective answers does not hold
CLASS_IMAGES = 99                                  # of a class with thresholds of its own: enough for 99 %
PENALTIES = (0.001, 0.01, 0.1, 0.2, 0.5)           # tried for "raps", as its authors do
_SPACING = 1.02                                    # of the ranks kept, counted from the upper end

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Answered = tuple[Floats, Labels, NDArray[np.float64]]    # logits [N, C], labels [N] and draws [N] of images


def quantiles(scores: Floats) -> ScoreQuantiles:
    """Return order statistics of N scores: all up to 100 from the upper end, then 2 % of the distance apart.

    This rounds a coverage of 90 % up to at most 90.2 %.
    """
    ordered, n = np.sort(scores), len(scores)
    above, ranks = 0, []
    while above < n:
        ranks.append(n - above)
        above = max(above + 1, int(above * _SPACING))
    ranks.reverse()
    rounded_up = (math.ceil(float(ordered[rank - 1]) * 1e6) / 1e6 for rank in ranks)
    return ScoreQuantiles(n, tuple(ranks), tuple(rounded_up))


def fit_sets(method: SetMethod, fit: Answered, calibration: Answered, *, per_class: bool) -> SetModel:
    """Return a model of sets with thresholds from the answers ``calibration``.

    The free ranks and the penalty of "raps" are chosen on ``fit``: ranks that 95 % of its images need, and the
    penalty of the smallest sets at 90 %.
    """
    unfitted = SetModel(method, ScoreQuantiles(0, (), ()))
    if method == "raps":
        logits, labels, draws = fit
        right = np.take_along_axis(logits, labels[:, None], 1)
        free = int(np.quantile((logits >= right).sum(1), 0.95, method="higher"))
        tried = [replace(unfitted, penalty=penalty, free_ranks=free) for penalty in PENALTIES]
        fitted = [replace(model, scores=quantiles(_true_class_scores(model, fit))) for model in tried]
        unfitted = min(fitted, key=lambda model: float(prediction_sets(logits, model, LEVELS[0], draws).sum()))
    scores, classes = _true_class_scores(unfitted, calibration), range(calibration[0].shape[1] if per_class else 0)
    of_class = [scores[calibration[1] == index] for index in classes]
    enough = (quantiles(scores) if len(scores) >= CLASS_IMAGES else None for scores in of_class)
    return replace(unfitted, scores=quantiles(scores), classes=tuple(enough))


def notes_on_classes(model: SetModel) -> list[str]:
    """Return a sentence if sets are to cover each class, and some have no thresholds of their own; else nothing."""
    few, classes = model.classes.count(None), len(model.classes)
    return [
        f"sets cover {classes - few:,} of {classes:,} classes one by one: of {few:,} fewer than {CLASS_IMAGES} images"
        " set thresholds, and the sets of these are those of all classes together"
    ] if few else []  # fmt: skip


def measure_sets(model: SetModel, level: float, test: Answered) -> SetCoverage:
    """Return the coverage and the sizes of sets on ``test``."""
    logits, labels, draws = test
    members = prediction_sets(logits, model, level, draws)
    sizes = np.bincount(members.sum(1), minlength=logits.shape[1] + 1)[1:]
    covered = int(members[np.arange(len(labels)), labels].sum())
    return SetCoverage(level, len(labels), covered, tuple(sizes.tolist()))


def fit_selective(logits: Floats, labels: Labels, errors: Sequence[float] = ERRORS) -> list[tuple[float, float]]:
    """Return for each error rate in ``errors`` the least probability above which at most that fraction is wrong.

    With a confidence of 1 - ``DELTA`` (Geifman and El-Yaniv, arXiv 1705.08500): a bisection over the ordered
    probabilities, each step of which takes its part of ``DELTA``. Infinite where nothing can be promised.
    """
    confidence = softmax(logits).max(1)
    order = np.argsort(-confidence)
    confidence, wrong = confidence[order], (logits.argmax(1) != labels)[order].cumsum()
    steps = len(labels).bit_length()               # of the bisection, at most
    thresholds = []
    for error in errors:
        least, most, threshold = 0, len(labels) - 1, math.inf
        while least <= most:
            middle = (least + most) // 2
            answered = int(np.searchsorted(-confidence, -confidence[middle], "right"))     # with all of equal ones
            if error_bound(int(wrong[answered - 1]), answered, DELTA / steps) <= error:
                threshold, least = float(confidence[middle]), middle + 1
            else:
                most = middle - 1
        thresholds.append((error, threshold))
    return thresholds


def measure_selective(error: float, probability: float, logits: Floats, labels: Labels) -> Selective:
    """Return how many answers of at least ``probability`` there are, and how many of them are wrong."""
    answered = softmax(logits).max(1) >= probability
    wrong = int((logits.argmax(1) != labels)[answered].sum())
    return Selective(error, probability, int(answered.sum()), wrong, len(labels))


def _true_class_scores(model: SetModel, data: Answered) -> Floats:
    logits, labels, draws = data
    return set_scores(logits, model, draws)[np.arange(len(labels)), labels]
