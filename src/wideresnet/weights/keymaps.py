"""Named arrays -> exactly the tensors of one architecture, or an error that shows the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.errors import WeightsError
from wideresnet.weights.guess import guess_architecture
from wideresnet.weights.schemes import rename

COUNTER: Final = "num_batches_tracked"
HUGE: Final = 1e15                                 # the product of a few is no float32 any more; OpenVINO hides that


def fit_tensors(tensors: Mapping[str, NDArray[Any]], architecture: Architecture) -> dict[str, NDArray[Any]]:
    """Exactly the keys of ``architecture.tensors()``, in that order: float32, counters int64 of shape ().

    Renames known foreign names. A missing ``num_batches_tracked`` (files before torch 0.4) becomes 0.
    Raises WeightsError that lists what is missing, unexpected or of another shape, and the likely fix.
    """
    named = rename(tensors)
    expected = architecture.tensors()
    fitted: dict[str, NDArray[Any]] = {}
    for key, shape in expected.items():
        if key.endswith(COUNTER):
            fitted[key] = np.asarray(named.get(key, 0), np.int64).reshape(())
        elif key in named and named[key].shape == shape:
            fitted[key] = np.asarray(named[key], np.float32)
    if len(fitted) < len(expected) or any(key not in expected for key in named):
        raise _mismatch(named, architecture)
    _check_values(fitted, [key for key in expected if key in named and named[key].dtype.kind in "iub"])
    return fitted


def _check_values(tensors: Mapping[str, NDArray[Any]], integers: Sequence[str]) -> None:
    """Raise WeightsError for tensors that no trained network has, with which all predictions would be equal.

    That is integers, NaN, infinity, numbers whose products overflow, and negative variances.
    """
    quantised = [key for key in integers if not key.endswith(COUNTER)]
    if quantised:
        raise WeightsError(
            f"{_listed('tensors of integers', quantised)} among these weights: they are quantised without their scales",
            hint="give the weights before quantisation",
        )
    largest = {key: np.abs(array).max(initial=0) for key, array in tensors.items() if not key.endswith(COUNTER)}
    huge = [key for key, value in largest.items() if HUGE < value < np.inf]
    if huge:
        raise WeightsError(
            f"{_listed('tensors with numbers above 1e15', huge)} among these weights", hint="use an earlier checkpoint"
        )
    broken = [key for key, value in largest.items() if not np.isfinite(value)]
    if broken:
        raise WeightsError(
            f"{_listed('tensors with NaN or infinity', broken)} among these weights",
            hint="the training diverged or the file is damaged: use an earlier checkpoint",
        )
    negative = [key for key, array in tensors.items() if key.endswith("running_var") and (array < 0).any()]
    if negative:
        raise WeightsError(
            f"{_listed('negative variances', negative)} among these weights", hint="use an earlier checkpoint"
        )


def _mismatch(named: Mapping[str, NDArray[Any]], architecture: Architecture) -> WeightsError:
    """Return the differences between a file and an architecture, and the likely remedy."""
    expected = architecture.tensors()
    missing = [key for key in expected if key not in named and not key.endswith(COUNTER)]
    unexpected = [key for key in named if key not in expected]
    shapes = [
        f"{key} is {list(named[key].shape)} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in named and named[key].shape != shape and not key.endswith(COUNTER)
    ]
    parts = [
        _listed("missing", missing),
        _listed("unexpected", unexpected),
        _listed("of another shape", shapes),
    ]
    differences = "; ".join(part for part in parts if part)
    return WeightsError(
        f"these weights do not fit {architecture.name} with {architecture.classes} classes: {differences}",
        hint=_likely_fix(named, architecture),
    )


def _listed(noun: str, items: list[str], show: int = 3) -> str:
    """``"412 missing (a, b, c, …)"``, or "" if there are none."""
    if not items:
        return ""
    return f"{len(items)} {noun} ({', '.join(items[:show])}{', …' if len(items) > show else ''})"


def _likely_fix(named: Mapping[str, NDArray[Any]], architecture: Architecture) -> str:
    """One sentence: another architecture, another number of classes, a missing classifier; or "list"."""
    fits = guess_architecture(named)
    if "fc.weight" not in named and fits and fits.name == architecture.name:
        return "the file has no classifier (features only): give the complete checkpoint it was cut from"
    if fits and fits.name != architecture.name:
        classes = f" with {fits.classes} classes" if fits.classes != architecture.classes else ""
        return f"they fit {fits.name}{classes}"
    if fits and fits.classes != architecture.classes:
        return f"they fit {fits.name} with {fits.classes} classes: give the file itself as the model"
    return "no architecture here fits this file; 'wrn models' lists all"
