"""The way back: from a graph written here to a state dict that computes the same."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wideresnet.architectures import Architecture
from wideresnet.errors import BundleError
from wideresnet.graph.fold import unfolded
from wideresnet.layers import Conv, Norm


def read_graph(model: onnx.ModelProto, architecture: Architecture) -> dict[str, NDArray[np.generic]]:
    """Return the tensors of a float graph of ``write_graph``, under the keys of ``architecture.tensors()`` in order.

    Folded batch norms come back as equivalents (mean 0, variance 1 - epsilon), so the values differ from
    those the graph was made from, while the function is the same. Raises BundleError for any other graph.
    """
    constants = {c.name.removesuffix(".half"): numpy_helper.to_array(c) for c in model.graph.initializer}
    tensors: dict[str, NDArray[np.generic]] = {}
    try:
        conv = ""
        for layer in architecture.layers():
            if isinstance(layer, Norm):
                tensors |= _norm(constants, layer.name, conv)
                continue
            tensors[f"{layer.name}.weight"] = constants[f"{layer.name}.weight"].astype(np.float32)
            if isinstance(layer, Conv):
                conv = layer.name                  # the norm that follows in the list was folded into it
            else:
                tensors[f"{layer.name}.bias"] = constants[f"{layer.name}.bias"].astype(np.float32)
    except KeyError as error:
        raise BundleError(
            f"this graph is no float graph of {architecture.name}: it has no constant {error.args[0]!r}",
            hint="quantised graphs cannot be turned back into weights; use the weights they were made from",
        ) from error
    # A deeper network has all the names of a shallower one, a wider one has other shapes.
    shapes = {key: value.shape for key, value in tensors.items()}
    if shapes != architecture.tensors() or model.graph.name != architecture.name:
        raise BundleError(
            f"this graph is no float graph of {architecture.name} with {architecture.classes} classes,"
            f" but one of {model.graph.name}"
        )
    return {key: tensors[key] for key in architecture.tensors()}


def _norm(constants: dict[str, NDArray[np.generic]], name: str, conv: str) -> dict[str, NDArray[np.generic]]:
    if f"{name}.scale" in constants:
        scale, shift = (constants[f"{name}.{part}"].astype(np.float32).ravel() for part in ("scale", "shift"))
    else:
        shift = constants[f"{conv}.bias"].astype(np.float32)
        scale = np.ones_like(shift)
    return unfolded(scale, shift, name)
