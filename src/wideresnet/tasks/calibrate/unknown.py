"""Scores of unknown images: the constants of each method of ``graph.calibrated``, from the features of a bank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wideresnet.records import UnknownMethod

Constants = dict[str, NDArray[np.generic]]
Floats = NDArray[np.floating]

IMAGES_A_FEATURE = 2
MOST_NEIGHBOURS = 50
INT8_MAX = 127
WITHOUT_BANK = "energy", "max-logit", "max-softmax"    # methods that compare an image with no others
OUTSIDE = 0.5                                      # fraction of the directions that "vim" takes for noise


def bank_size(classes: int) -> int:
    """Return the number of images of a bank: ten a class, but at least 2,000 and at most 10,000."""
    return min(max(2000, 10 * classes), 10_000)


def default_method(images: int, features: int) -> UnknownMethod:
    """Return "vim", which refuses the most unknown images where few genuine ones may be refused (docs/trust.md).

    "knn" where the bank is too small for the covariance of the features.
    """
    return "vim" if images >= IMAGES_A_FEATURE * features else "knn"


def notes_on_bank(method: UnknownMethod, images: int, features: int) -> list[str]:
    """Return a warning if ``method`` estimates a covariance from too few images, else nothing."""
    if method not in ("vim", "mahalanobis") or images >= IMAGES_A_FEATURE * features:
        return []
    return [
        f"{method} estimates the covariance of {features:,} features from {images:,} images: it recognises few unknown"
        f" images below {IMAGES_A_FEATURE * features:,}; with so few use --unknown-method knn"
    ]


def neighbours(images: int, classes: int) -> int:
    """Return the k of "knn" for a bank of ``images`` images: a tenth of a class."""
    return min(max(1, round(images / classes / 10)), MOST_NEIGHBOURS)


def method_constants(method: UnknownMethod, features: Floats, logits: Floats) -> Constants:
    """Return the constants of a method from features [M, F] and calibrated logits [M, C] of known images."""
    values = features.astype(np.float64)
    match method:
        case "knn":
            return _bank(values, neighbours(*logits.shape))
        case "vim":
            return _principal_subspace(values, logits)
        case "mahalanobis":
            return _distances(values, logits.argmax(1))
        case _:
            return {}


def _bank(features: NDArray[np.float64], k: int) -> Constants:
    """Return the features as unit vectors in int8, each with its own scale: it costs 0.1 points of AUROC or less."""
    largest = np.maximum(np.abs(features).max(1, keepdims=True), np.finfo(np.float32).tiny)
    rounded = np.rint(features / largest * INT8_MAX)
    scale = 1 / np.maximum(np.linalg.norm(rounded, axis=1), 1)
    return {
        "bank": rounded.T.astype(np.int8), "scale": scale[None].astype(np.float32), "k": np.array([k], np.int64)
    }  # fmt: skip


def _principal_subspace(features: NDArray[np.float64], logits: Floats) -> Constants:
    """Return the mean and the directions of least variance, scaled so that their norm is like the largest logit."""
    origin = features.mean(0)
    _, directions = np.linalg.eigh(np.cov(features.T))
    outside = directions[:, : max(1, round(OUTSIDE * features.shape[1]))]
    norms = np.linalg.norm((features - origin) @ outside, axis=1)
    scaled = outside * (np.abs(logits.max(1)).mean() / max(norms.mean(), np.finfo(np.float32).tiny))
    return {"origin": origin.astype(np.float32), "outside": scaled.astype(np.float32)}


def _distances(features: NDArray[np.float64], classes: NDArray[np.integer]) -> Constants:
    """Return the whitening within the classes (those that the network predicts) and overall, and the class means."""
    origin = features.mean(0)
    present, index = np.unique(classes, return_inverse=True)
    means = np.stack([features[classes == label].mean(0) for label in present])
    within, overall = _whitening(features - means[index]), _whitening(features - origin)
    centres = (means - origin) @ within
    arrays = {"origin": origin, "within": within, "overall": overall}
    arrays |= {"means": 2 * centres.T, "norms": (centres**2).sum(1)}
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return W with W @ W.T = the inverse of the covariance, without directions of no variance."""
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    usable = variances > variances.max() * 1e-7
    return directions * np.where(usable, 1 / np.sqrt(np.where(usable, variances, 1)), 0)
