"""Batch norms at inference: a scale and a shift per channel, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wideresnet.layers import NORM_VECTORS, Norm

Tensors = Mapping[str, NDArray[np.generic]]
EPSILON = 1e-5                                     # torch's BatchNorm2d default, used by every published set


def scale_and_shift(tensors: Tensors, norm: Norm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift of a batch norm, y = scale · x + shift; both float64 [C]."""
    return affine([tensors[f"{norm.name}.{part}"] for part in NORM_VECTORS], norm.epsilon)


def affine(
    norm: Sequence[NDArray[np.generic]], epsilon: float = EPSILON
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return scale and shift, float64 [C], from weight, bias, mean and variance [C] of a batch norm."""
    weight, bias, mean, variance = (part.astype(np.float64) for part in norm)
    scale = weight / np.sqrt(variance + epsilon)
    return scale, bias - mean * scale


def conv_with_norm(tensors: Tensors, norm: Norm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fold ``norm`` into its convolution: return weight [c_out, c_in, k, k] and bias [c_out], float64."""
    scale, shift = scale_and_shift(tensors, norm)
    if f"{norm.conv}.bias" in tensors:
        shift = shift + scale * tensors[f"{norm.conv}.bias"].astype(np.float64)
    return tensors[f"{norm.conv}.weight"].astype(np.float64) * scale[:, None, None, None], shift


def unfolded(scale: NDArray[np.floating], shift: NDArray[np.floating], norm: Norm) -> dict[str, NDArray[np.generic]]:
    """Return the state-dict entries of a batch norm that computes scale · x + shift.

    The mean is 0, and the variance 1 - epsilon, or 1 of an idle norm.
    """
    return {
        f"{norm.name}.weight": scale.astype(np.float32),
        f"{norm.name}.bias": shift.astype(np.float32),
        f"{norm.name}.running_mean": np.zeros(len(scale), np.float32),
        f"{norm.name}.running_var": np.full(len(scale), 1 - (0 if norm.idle else norm.epsilon), np.float32),
        f"{norm.name}.num_batches_tracked": np.array(0, np.int64),
    }
