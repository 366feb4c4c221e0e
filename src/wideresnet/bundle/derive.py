"""Bundles made from a bundle: another preprocessing, float32 weights, a graph built from other tensors.

A calibration holds for one precision and preprocessing: these bundles have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wideresnet.bundle.bundle import Bundle, network_of, tool_versions
from wideresnet.errors import ConfigError
from wideresnet.graph import read_graph, write_graph
from wideresnet.graph.calibrated import with_temperature, without_known_score
from wideresnet.graph.write import normalisation_constants
from wideresnet.records import Normalisation, Preprocess

Tensors = Mapping[str, NDArray[np.generic]]
NOTE, DROPPED = "uncertainty", (
    "the calibration was dropped, as it holds for one precision and preprocessing: 'wrn calibrate' makes a new one"
)

GATE_NOTES = ("gate", "search", "gate images")


def with_preprocess(bundle: Bundle, preprocess: Preprocess) -> Bundle:
    """Return the bundle with another preprocessing, without the figures that hold for the old one."""
    if preprocess == bundle.card.preprocess:
        return bundle
    bundle.check_single()
    notes = _notes(bundle, of_gate=False)
    bundle = uncalibrated(bundle)
    card = replace(bundle.card, preprocess=preprocess, published=(), measured=(), gate=None, notes=notes)
    return replace(bundle, card=card)


def at_resolution(bundle: Bundle, side: int) -> Bundle:
    """Return the bundle for crops of ``side`` pixels, which show the same part of an image; 0, its own: unchanged."""
    resized = with_preprocess(bundle, bundle.card.preprocess.at(side))
    return resized if resized is bundle else as_float32(resized)


def with_normalisation(bundle: Bundle, statistics: Normalisation) -> Bundle:
    """Return the bundle with another mean and standard deviation of the pixels, in its graph and on its card.

    Raises ConfigError for an int8 model, whose ranges hold for pixels as it normalises them.
    """
    preprocess = replace(bundle.card.preprocess, mean=statistics[0], std=statistics[1])
    if preprocess == bundle.card.preprocess:
        return bundle
    if bundle.card.precision == "int8":
        problem = f"{bundle.card.name} is int8: its ranges were calibrated for pixels as it normalises them"
        raise ConfigError(problem, hint="compile the float32 model again with 'wrn compile --normalise'")
    stated = f"mean {bundle.card.preprocess.mean}, std {bundle.card.preprocess.std}"
    notes = bundle.card.notes | {"normalisation": f"normalised as requested, where the model states {stated}"}
    bundle = with_preprocess(replace(bundle, card=replace(bundle.card, notes=notes)), preprocess)
    model = onnx.load_model_from_string(bundle.graph)
    values = normalisation_constants(preprocess)
    for constant in model.graph.initializer:
        if constant.name in values:
            constant.CopyFrom(numpy_helper.from_array(values[constant.name], constant.name))
    return bundle.with_model(model)


def uncalibrated(bundle: Bundle) -> Bundle:
    """Return the model as it was before 'wrn calibrate'."""
    if bundle.card.uncertainty is None:
        return bundle
    return bundle.with_model(
        with_temperature(without_known_score(bundle.model), 1), replace(bundle.card, uncertainty=None)
    )


def _notes(bundle: Bundle, *, of_gate: bool) -> dict[str, str]:
    """Return the notes of a card, with or without those ``of_gate``, of a bundle without its calibration."""
    notes = {key: text for key, text in bundle.card.notes.items() if of_gate or key not in GATE_NOTES}
    return notes | ({NOTE: DROPPED} if bundle.card.uncertainty else {})


def read_weights(bundle: Bundle) -> Tensors:
    """Return the tensors of a bundle's graph. Raises BundleError for a quantised one."""
    return read_graph(bundle.model, network_of(bundle.card))


def rebuild(bundle: Bundle, tensors: Tensors, precision: Literal["fp32", "fp16"]) -> Bundle:
    """Return the model with a graph written from ``tensors``, normalised as its card states.

    In another precision it has no measured figures and no gate.
    """
    graph = write_graph(network_of(bundle.card), tensors, bundle.card.preprocess, half=precision == "fp16")
    card = replace(bundle.card, precision=precision, quantised=None, calibration=(), uncertainty=None)
    if precision != bundle.card.precision:
        card = replace(card, measured=(), gate=None)
    notes = _notes(bundle, of_gate=precision == bundle.card.precision)
    card = replace(card, made_with=tool_versions(), notes=notes)
    return bundle.with_model(graph, card)


def as_float32(bundle: Bundle) -> Bundle:
    """Return the model with float32 weights in its graph. Raises BundleError for a quantised one."""
    return rebuild(bundle, read_weights(bundle), "fp32")
