"""Facts stated by a graph of ``write_graph``: input size, classes, normalisation, stored precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from pydantic import TypeAdapter, ValidationError

from wideresnet.architectures import Variant
from wideresnet.errors import BundleError, errors_as
from wideresnet.graph.outputs import margin_of, temperature_of
from wideresnet.precision import StoredPrecision
from wideresnet.records import RGB, MarginScale

MEAN, FACTOR = "input.mean", "input.factor"        # constants that normalise pixels in 0..255
VARIANT = "wideresnet.variant"                     # key of the metadata; JSON
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class GraphFacts:
    """Properties that a card states too. ``mean`` and ``std`` are of RGB values in [0, 1]."""

    architecture: str                              # a name of architectures.ARCHITECTURES, or wrn_N_K
    side: int                                      # pixels a side of the input [N, side, side, 3]
    classes: int                                   # columns of the logits
    mean: RGB
    std: RGB
    precision: StoredPrecision                     # of the stored weights
    variant: Variant                               # see architectures.with_variant
    temperature: float                             # that divides the logits
    margin: MarginScale | None                     # that scales them then
    known_score: bool                              # whether there is this output


def read_facts(model: onnx.ModelProto) -> GraphFacts:
    """Read the facts from the constants, types and nodes. Raises BundleError for a graph of another tool."""
    graph, constants = model.graph, {constant.name: constant for constant in model.graph.initializer}
    problem = "the graph has no normalisation of RGB uint8 [N, S, S, 3] as 'wrn export' writes it"
    with errors_as((LookupError, ValueError), BundleError, problem, hint=_EXPORT):
        mean, factor = (_rgb(numpy_helper.to_array(constants[name])) for name in (MEAN, FACTOR))
        side = graph.input[0].type.tensor_type.shape.dim[1].dim_value
        classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
    half = any(constant.data_type == TensorProto.FLOAT16 for constant in graph.initializer)
    return GraphFacts(
        architecture=graph.name,
        side=int(side),
        classes=int(classes),
        mean=(mean[0] / 255, mean[1] / 255, mean[2] / 255),
        std=(1 / (255 * factor[0]), 1 / (255 * factor[1]), 1 / (255 * factor[2])),
        precision="int8" if quantised else "fp16" if half else "fp32",
        variant=read_variant(model),
        temperature=temperature_of(model),
        margin=margin_of(model),
        known_score=len(graph.output) > 1,
    )


def read_variant(model: onnx.ModelProto) -> Variant:
    """Return the variant that the graph states, empty for a default one. Raises BundleError."""
    stated = next((item.value for item in model.metadata_props if item.key == VARIANT), "{}")
    try:
        return TypeAdapter(Variant).validate_json(stated)
    except ValidationError as error:
        raise BundleError(f"the graph's {VARIANT} is damaged: {stated[:80]!r}", hint=_EXPORT) from error


def check_finite(model: onnx.ModelProto) -> None:
    """Raise BundleError if a constant holds NaN or infinity, which some runtimes do not report."""
    for constant in model.graph.initializer:
        if constant.data_type in _FLOATS and not np.isfinite(numpy_helper.to_array(constant)).all():
            raise BundleError(f"{constant.name} in the graph holds NaN or infinity", hint=_EXPORT)


_EXPORT = "write the bundle again with 'wrn export'"


def _rgb(values: np.ndarray[tuple[int], np.dtype[np.floating]]) -> RGB:
    red, green, blue = (float(value) for value in values.ravel())
    return red, green, blue
