"""Quantise a float graph to int8 with NNCF (extra ``compile``), and undo it for single layers.

Weights get a scale a channel, activations one a tensor, written as QuantizeLinear and DequantizeLinear pairs
(QDQ) that OpenVINO and ONNX Runtime both turn into int8 convolutions.

NNCF's bias corrections are of little use for these networks. The fast one runs each layer on a constant image,
the mean of what it sees, so that it takes the zeros around small maps for an error of rounding; the exact one
does not take graphs of this kind (3.4: KeyError). The mean error that rounding really leaves is tiny.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, needs_extra
from wideresnet.graph.write import INPUT
from wideresnet.records import Estimator, QuantiseSettings

# NNCF's names (RangeEstimatorParametersSet).
ESTIMATORS: dict[Estimator, str] = {
    "mean": "MEAN_MINMAX", "max": "MINMAX", "percentile": "MEAN_QUANTILE", "mse": "HISTOGRAM"
}  # fmt: skip
DEFAULTS = QuantiseSettings()
WEIGHED = ("Conv", "Gemm")
# They only move values: quantising before them equals quantising after them.
MOVES = ("Transpose", "MaxPool", "GlobalMaxPool", "Flatten")


def quantise(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.uint8]],
    settings: QuantiseSettings = DEFAULTS,
) -> onnx.ModelProto:
    """Return the int8 graph of a float32 graph of ``write_graph``, with ranges from ``images``, uint8 [S, S, 3] each.

    The same images give the same graph. Raises MissingExtra without nncf, ConfigError without images.
    """
    if not images:
        raise ConfigError("int8 needs images to take the ranges of activations from", hint="give --calibration")
    # NNCF decides on import whether it reports its use over the network, which is disabled here.
    os.environ["NNCF_CI"] = "1"
    with needs_extra("int8", "compile"):
        import nncf
        import onnxruntime  # noqa: F401 (nncf runs ONNX graphs with it, and does not require it)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    used = images[: settings.samples]
    dataset = nncf.Dataset(list(used), lambda image: {INPUT: image[None]})
    # NNCF prints progress bars: stdout is for results, and logs do not need them.
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        quantised: onnx.ModelProto = nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset(settings.preset),
            subset_size=len(used),
            advanced_parameters=_advanced(settings),
        )
    if settings.kept:
        quantised = keep_float(quantised, model, settings.kept)
    onnx.checker.check_model(quantised)
    return quantised


def quantised_layers(quantised: onnx.ModelProto, reference: onnx.ModelProto) -> dict[str, str]:
    """Return the layers with int8 inputs and their operators, in the order of the graph.

    Layers with a weight go by its state-dict name, the others by the name of their node.
    """
    small = {node.output[0] for node in quantised.graph.node if node.op_type == "DequantizeLinear"}
    for node in quantised.graph.node:
        if node.op_type in MOVES and node.input[0] in small:
            small.add(node.output[0])
    inputs = {node.name: node.input for node in quantised.graph.node}
    nodes = {node.name: node for node in reference.graph.node if node.op_type not in MOVES}
    return {
        layer: nodes[name].op_type
        for layer, name in _layers(reference).items()
        if name in nodes and small.intersection(inputs[name])
    }


def keep_float(quantised: onnx.ModelProto, reference: onnx.ModelProto, layers: Iterable[str]) -> onnx.ModelProto:
    """Return ``quantised`` with these layers in float32, weights and inputs, as in ``reference``."""
    names = _layers(reference)
    return _unquantised(quantised, reference, {names[layer] for layer in layers})


def only_quantised(quantised: onnx.ModelProto, reference: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    """Return ``reference`` with this layer quantised, weight and input, as in ``quantised``."""
    computing = {node.name for node in reference.graph.node if node.op_type not in MOVES}
    return _unquantised(quantised, reference, computing - {_layers(reference)[layer]})


def _layers(reference: onnx.ModelProto) -> dict[str, str]:
    """Return node names by layer."""
    return {
        node.input[1].removesuffix(".weight") if node.op_type in WEIGHED else node.name: node.name
        for node in reference.graph.node
    }


def _unquantised(
    quantised: onnx.ModelProto, reference: onnx.ModelProto, names: Collection[str]
) -> onnx.ModelProto:
    """Return ``quantised`` with the nodes ``names`` as in ``reference``, without unused nodes and constants."""
    result = deepcopy(quantised)
    original = {node.name: node for node in reference.graph.node}
    producers = {output: node for node in quantised.graph.node for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in quantised.graph.node:
        if node.name in names:
            node = deepcopy(original[node.name])
            node.input[:] = [_in_float(tensor, original, producers, nodes) for tensor in node.input]
        nodes.append(node)
    floats = {c.name: c for c in reference.graph.initializer}
    constants = {c.name: c for c in quantised.graph.initializer} | {
        name: floats[name] for key in names for name in original[key].input if name in floats
    }
    needed = {output.name for output in quantised.graph.output}
    needed_nodes = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed_nodes.append(node)
            needed.update(node.input)
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    result.graph.node.extend(reversed(needed_nodes))
    result.graph.initializer.extend(constants[name] for name in constants if name in needed)
    return result


def _in_float(
    tensor: str,
    original: Mapping[str, onnx.NodeProto],
    producers: Mapping[str, onnx.NodeProto],
    nodes: list[onnx.NodeProto],
) -> str:
    """Return the name of a float tensor in the quantised graph; add it if only a quantised copy exists."""
    node = producers.get(tensor)
    if node is None or node.op_type not in MOVES:
        return tensor
    twin = deepcopy(original[node.name])
    twin.input[0] = _in_float(twin.input[0], original, producers, nodes)
    if twin.input[0] == node.input[0]:
        return tensor
    twin.name = twin.output[0] = f"{tensor}.float"
    if all(node.name != twin.name for node in nodes):
        nodes.append(twin)
    return f"{tensor}.float"


def _advanced(settings: QuantiseSettings) -> Any:
    """Return the settings as NNCF's parameters."""
    from nncf import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return AdvancedQuantizationParameters(
        disable_bias_correction=settings.bias_correction == "none",
        activations_range_estimator_params=getattr(RangeEstimatorParametersSet, ESTIMATORS[settings.estimator]),
    )
