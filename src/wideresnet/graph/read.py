"""The way back: from a graph written here to a state dict that computes the same."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wideresnet.architectures import Architecture
from wideresnet.errors import BundleError, errors_as
from wideresnet.graph.facts import read_variant
from wideresnet.graph.fold import unfolded
from wideresnet.layers import Norm


def read_graph(model: onnx.ModelProto, architecture: Architecture) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a float graph of ``write_graph``, under the keys of ``architecture.tensors()`` in order.

    Folded batch norms come back as equivalents (mean 0, variance 1 - epsilon, with the bias of their convolution) and
    idle ones as identities, so the values differ from those the graph was made from, while the function is the same.
    Raises BundleError for any other graph.
    """
    constants = {c.name.removesuffix(".half"): numpy_helper.to_array(c) for c in model.graph.initializer}
    tensors: dict[str, NDArray[np.generic]] = {}
    problem = f"this graph is no float graph of {architecture.name}: it has no constant"
    with errors_as(KeyError, BundleError, problem, hint="use the weights that it was quantised from"):
        layers = list(architecture.layers())
        folded = {layer.conv for layer in layers if isinstance(layer, Norm)}
        for layer in layers:
            if isinstance(layer, Norm):
                tensors |= _norm(constants, layer)
                continue
            for key in layer.tensors():
                tensors[key] = constants[key].astype(np.float32)
                if key == f"{layer.name}.bias" and layer.name in folded:
                    tensors[key] = np.zeros_like(tensors[key])      # the norm has it
    # A deeper network has all the names of a shallower one, a wider one has other shapes.
    shapes = {key: value.shape for key, value in tensors.items()}
    named = model.graph.name == architecture.name and read_variant(model) == architecture.variant()
    if shapes != architecture.tensors() or not named:
        raise BundleError(
            f"this graph is no float graph of {architecture.name} with {architecture.classes} classes,"
            f" but one of {model.graph.name}"
        )
    return {key: tensors[key] for key in architecture.tensors()}


def _norm(constants: dict[str, NDArray[np.generic]], norm: Norm) -> dict[str, NDArray[np.generic]]:
    ones, zeros = np.ones(norm.channels, np.float32), np.zeros(norm.channels, np.float32)
    if norm.idle:
        return unfolded(ones, zeros, norm)
    if norm.conv:
        return unfolded(ones, constants[f"{norm.conv}.bias"].astype(np.float32), norm)
    scale, shift = (constants[f"{norm.name}.{part}"].astype(np.float32).ravel() for part in ("scale", "shift"))
    return unfolded(scale, shift, norm)
