"""The calibration of a graph: the temperature of its logits, and a score of how well it knows an image.

    logits              Gemm with alpha = beta = 1 / T: no weight changes, and any runtime gives calibrated logits;
                        with a ``MarginScale`` then multiplied by a factor of each image, in four more nodes
    known_score         float32 [N, 1], a second output from the features and the logits divided by T; small for what
                        the network never saw

    knn                 cosine of the k-th nearest of a bank of features, stored as int8 (arXiv 2204.06507)
    vim                 energy - the norm of the features outside of the principal subspace (arXiv 2203.10807)
    mahalanobis         distance from all images - distance from the nearest class (arXiv 2106.09022)
    energy              log sum exp of the logits (arXiv 2010.03759)
    max-logit, max-softmax
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from wideresnet.graph.outputs import FEATURES, MARGIN, classifier_node, inner_outputs
from wideresnet.graph.write import OUTPUT
from wideresnet.records import MarginScale, UnknownMethod

SCORE = "known_score"
_PREFIX = "known."                                 # of the names of its nodes and constants
_EPSILON = 1e-12                                   # so that features of zero have a score


def with_temperature(
    model: onnx.ModelProto, temperature: float, margin: MarginScale | None = None
) -> onnx.ModelProto:
    """Return the graph with its logits divided by ``temperature`` and scaled by ``margin``, whatever it was before.

    The graph must have no score of unknown images, which would still read the earlier logits.
    """
    result = _without(model, MARGIN)
    node = classifier_node(result)
    node.output[0] = OUTPUT
    attributes = [attribute for attribute in node.attribute if attribute.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(attributes)
    if temperature != 1:
        node.attribute.extend(helper.make_attribute(name, 1 / temperature) for name in ("alpha", "beta"))
    return with_margin(result, margin) if margin else result


def with_margin(model: onnx.ModelProto, margin: MarginScale) -> onnx.ModelProto:
    """Return the graph with logits multiplied by ``margin``'s factor of their image."""
    result = deepcopy(model)
    node = classifier_node(result)
    node.output[0] = scaled = f"{MARGIN}logits"
    part = _Part(result.graph, "", scaled, {}, MARGIN)
    slope = part.constant("slope", np.array([[margin.slope], [-margin.slope]], np.float32))
    largest = part.add("TopK", scaled, part.constant("two", np.array([2], np.int64)))
    offset = part.constant("offset", np.array(margin.offset, np.float32))
    factor = part.add("Add", part.add("MatMul", largest, slope), offset)
    result.graph.node.append(helper.make_node("Mul", [scaled, factor], [OUTPUT], name=f"{MARGIN}scale"))
    onnx.checker.check_model(result)
    return result


def with_known_score(
    model: onnx.ModelProto, method: UnknownMethod, constants: Mapping[str, NDArray[np.generic]]
) -> onnx.ModelProto:
    """Return the graph with the further output ``SCORE``; ``constants`` are those of the method, by name."""
    result = without_known_score(model)
    part = _Part(result.graph, inner_outputs(result)[FEATURES], classifier_node(result).output[0], constants)
    result.graph.node.append(helper.make_node("Identity", [_METHODS[method](part)], [SCORE], name=SCORE))
    result.graph.output.append(helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["batch", 1]))
    onnx.checker.check_model(result)
    return result


def without_known_score(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph with the logits as its only output."""
    result = _without(model, _PREFIX, SCORE)
    del result.graph.output[1:]
    return result


def _without(model: onnx.ModelProto, *prefixes: str) -> onnx.ModelProto:
    """Return a copy of the graph without the nodes and constants whose names start with ``prefixes``."""
    result = deepcopy(model)
    graph = result.graph
    nodes = [node for node in graph.node if not node.name.startswith(prefixes)]
    constants = [constant for constant in graph.initializer if not constant.name.startswith(prefixes)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    return result


def known_score_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of the graph that computes ``SCORE``: "features" [N, F] and "logits" [N, C] are its inputs.

    These logits are only divided by the temperature.
    """
    names = {inner_outputs(model)[FEATURES]: FEATURES, classifier_node(model).output[0]: OUTPUT}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]) for name in (FEATURES, OUTPUT)]
    nodes = [deepcopy(node) for node in model.graph.node if node.name.startswith((_PREFIX, SCORE))]
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
    constants = [constant for constant in model.graph.initializer if constant.name.startswith(_PREFIX)]
    graph = helper.make_graph(nodes, SCORE, inputs, [model.graph.output[1]], constants)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


@dataclass
class _Part:
    """Nodes that are added to ``graph``; every method returns the name of its output."""

    graph: onnx.GraphProto
    features: str                                  # [N, F]
    logits: str                                    # [N, C], divided by the temperature
    values: Mapping[str, NDArray[np.generic]]
    prefix: str = _PREFIX

    def add(self, op: str, *inputs: str, axes: bool = False) -> str:
        """Add a node; ``axes``: it reduces the columns."""
        name = f"{self.prefix}{len(self.graph.node)}"
        outputs = [name, f"{name}.index"] if op == "TopK" else [name]
        attributes = {"to": TensorProto.FLOAT} if op == "Cast" else {"axes": [1]} if axes else {}
        self.graph.node.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[np.generic] | None = None) -> str:
        """Add a constant: the method's, or ``value``."""
        array = self.values[name] if value is None else value
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), f"{self.prefix}{name}"))
        return f"{self.prefix}{name}"


def _knn(part: _Part) -> str:
    """``bank`` int8 [F, M], ``scale`` float32 [1, M] that makes its columns unit vectors, ``k`` int64 [1]."""
    bank = part.add("Mul", part.add("Cast", part.constant("bank")), part.constant("scale"))
    nearest = part.add("TopK", part.add("MatMul", part.features, bank), part.constant("k"))
    norm = part.add("ReduceL2", part.features, axes=True)
    positive = part.add("Add", norm, part.constant("epsilon", np.array(_EPSILON, np.float32)))
    return part.add("Div", part.add("ReduceMin", nearest, axes=True), positive)


def _vim(part: _Part) -> str:
    """``origin`` [F], ``outside`` [F, R]: the directions outside of the subspace, scaled to the logits."""
    projected = part.add("MatMul", part.add("Sub", part.features, part.constant("origin")), part.constant("outside"))
    return part.add("Sub", _energy(part), part.add("ReduceL2", projected, axes=True))


def _mahalanobis(part: _Part) -> str:
    """``origin`` [F]; ``within``, ``overall`` [F, F] whiten; ``means`` [F, C] are doubled, ``norms`` [C] squared."""
    centred = part.add("Sub", part.features, part.constant("origin"))
    within = part.add("MatMul", centred, part.constant("within"))
    products = part.add("MatMul", within, part.constant("means"))
    nearest = part.add("ReduceMax", part.add("Sub", products, part.constant("norms")), axes=True)
    minus = part.add("Sub", nearest, part.add("ReduceSumSquare", within, axes=True))
    overall = part.add("MatMul", centred, part.constant("overall"))
    return part.add("Add", minus, part.add("ReduceSumSquare", overall, axes=True))


def _energy(part: _Part) -> str:
    # Not ReduceLogSumExp: OpenVINO 2026.4 ignores its axes.
    most = _max_logit(part)
    powers = part.add("Exp", part.add("Sub", part.logits, most))
    total = part.add("ReduceSum", powers, part.constant("columns", np.array([1], np.int64)))
    return part.add("Add", part.add("Log", total), most)


def _max_logit(part: _Part) -> str:
    return part.add("ReduceMax", part.logits, axes=True)


def _max_softmax(part: _Part) -> str:
    return part.add("ReduceMax", part.add("Softmax", part.logits), axes=True)


_METHODS: dict[UnknownMethod, Callable[[_Part], str]] = {
    "knn": _knn, "vim": _vim, "mahalanobis": _mahalanobis, "energy": _energy, "max-logit": _max_logit,
    "max-softmax": _max_softmax,
}  # fmt: skip
