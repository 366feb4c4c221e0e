"""Batch norms at inference: a scale and a shift per channel, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.generic]]
EPSILON = 1e-5                                     # torch's BatchNorm2d default, used by every published set


def scale_and_shift(tensors: Tensors, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift of batch norm ``norm``, y = scale · x + shift; both float64 [C]."""
    return affine([tensors[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])


def affine(
    norm: Sequence[NDArray[np.generic]], epsilon: float = EPSILON
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift, float64 [C], from weight, bias, mean and variance [C] of a batch norm."""
    weight, bias, mean, variance = (part.astype(np.float64) for part in norm)
    scale = weight / np.sqrt(variance + epsilon)
    return scale, bias - mean * scale


def conv_with_norm(tensors: Tensors, conv: str, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fold ``norm`` into ``conv``: return weight [c_out, c_in, k, k] and bias [c_out], float64."""
    scale, shift = scale_and_shift(tensors, norm)
    return tensors[f"{conv}.weight"].astype(np.float64) * scale[:, None, None, None], shift


def unfolded(scale: NDArray[np.floating], shift: NDArray[np.floating], norm: str) -> dict[str, NDArray[np.generic]]:
    """Return the state-dict entries of a batch norm that computes scale · x + shift: mean 0, variance 1 - epsilon."""
    return {
        f"{norm}.weight": scale.astype(np.float32),
        f"{norm}.bias": shift.astype(np.float32),
        f"{norm}.running_mean": np.zeros(len(scale), np.float32),
        f"{norm}.running_var": np.full(len(scale), 1 - EPSILON, np.float32),
        f"{norm}.num_batches_tracked": np.array(0, np.int64),
    }
