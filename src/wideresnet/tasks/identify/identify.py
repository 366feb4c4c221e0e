"""Find the convention under which a weights file was trained.

Candidates are normalisation × activation × shortcut form. The best one is that under which the network reproduces
the statistics that its batch norms stored in training; with labels, the best one of the most accurate ones. Candidates
are tried on a few images first, and the better ones on more: successive halving.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from wideresnet.architectures import with_variant
from wideresnet.datasets.statistics import NORMALISATIONS
from wideresnet.engines import EngineOptions
from wideresnet.engines.openvino import OpenVinoEngine
from wideresnet.errors import ConfigError
from wideresnet.graph.write import write_graph
from wideresnet.layers import Norm
from wideresnet.records.identification import Fit, Identification
from wideresnet.records.progress import Progress
from wideresnet.tasks.load.weights_file import FileModel
from wideresnet.weights.stem import mismatch, padded_crops, rank_normalisations, stem_of

ROUNDS = (32, 128, 512)                            # images
DIVISOR, LEAST = 4, 4                              # a quarter of the candidates go on, and at least four
CLOSE = 3.0                                        # the largest mismatch of a candidate, as a multiple of the smallest
ACTIVATIONS, SHORTCUTS = ("relu", "leaky_relu", "silu"), ("activated", "raw", "always", "skip_norm")
# Tried one by one on the best candidate: values of fields whose effect is smaller.
FURTHER: dict[str, tuple[str | float, ...]] = {
    "stride_on": ("conv1", "conv2"), "padding": ("symmetric", "same"), "bn_eps": (1e-5, 1e-3),
}  # fmt: skip
CLEAR = 0.8                                        # of a mismatch: a smaller one is no accident
BATCH = 32


def identify(
    model: FileModel, images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None
) -> Generator[Progress, None, Identification]:
    """Return the candidates in order of fit. ``images``: crops, RGB [N, S, S, 3]; ``labels``: class indices [N].

    Reports progress after each candidate. Raises ConfigError without images.
    """
    if not len(images):
        raise ConfigError("no images to identify the network on", hint="name a folder of ordinary images")
    network = model.network
    stem = stem_of(network.architecture, network.tensors)
    stored = {"file": network.origin.normalisation} if network.origin.normalisation else {}
    first = rank_normalisations(stem, images[: ROUNDS[1]], stored)
    values = {**NORMALISATIONS, **stored}
    limit = CLOSE * max(min(first.values()), 1 / len(images)) if labels is None else np.inf
    names = [name for name, misfit in first.items() if misfit <= limit]
    fits = [Fit(name, form, first[name]) for name, form in product(names, _forms(model))]
    for count in ROUNDS:
        tried = []
        for index, fit in enumerate(fits):
            yield Progress(f"{count} images", index, len(fits))
            tried.append(_try(model, fit, values[fit.normalise], images[:count], labels))
        fits = _ranked(tried, len(images[:count]))[: max(LEAST, -(-len(tried) // DIVISOR))]
        if count >= len(images):
            break
    for name, choices in FURTHER.items() if network.architecture.family == "cifar" else ():
        yield Progress(name.replace("_", " "), 0, 1)
        current = fits[0].variant.get(name, getattr(network.architecture, name))
        for value in choices:
            if value != current:
                changed = replace(fits[0], variant={**fits[0].variant, name: value})
                fit = _try(model, changed, values[changed.normalise], images[:count], labels)
                if fit.mismatch < CLEAR * fits[0].mismatch:
                    fits = [fit, *fits]
    return Identification(model.card.weights_source, len(images[:count]), labels is not None, tuple(fits))


def _forms(model: FileModel) -> Iterator[dict[str, Any]]:
    """Yield the known forms of the function; the file's own fields stay where they are not varied."""
    block = model.network.architecture.block
    for activation, shortcut in product(ACTIVATIONS, SHORTCUTS if block == "preact" else ("",)):
        yield {"activation": activation} | ({"shortcut": shortcut} if shortcut else {})


def _try(
    model: FileModel, fit: Fit, normalisation: Any, images: NDArray[np.uint8], labels: NDArray[np.integer] | None
) -> Fit:
    """Return the fit of a candidate on ``images``."""
    architecture = with_variant(model.network.architecture, fit.variant)
    tensors = model.network.tensors
    spec = replace(model.card.preprocess, mean=normalisation[0], std=normalisation[1])
    norms = [layer for layer in architecture.layers() if isinstance(layer, Norm) and not layer.idle]
    graph = _with_moments(write_graph(architecture, tensors, spec), norms)
    engine = OpenVinoEngine(graph.SerializeToString(), EngineOptions())
    accuracy = None
    misfits = []
    for kind in (images, padded_crops(images)):
        parts = list(engine.outputs(kind[start : start + BATCH] for start in range(0, len(kind), BATCH)))
        logits, *moments = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        if labels is not None and accuracy is None:
            accuracy = float((logits.argmax(1) == labels[: len(logits)]).mean())
        pairs = zip(norms, moments[::2], moments[1::2], strict=True)
        misfits.append(float(np.mean([_misfit(norm, tensors, *pair) for norm, *pair in pairs])))
    return replace(fit, mismatch=min(misfits), accuracy=accuracy)


def _misfit(norm: Norm, tensors: Any, mean: NDArray[np.float32], square: NDArray[np.float32]) -> float:
    """Return the mismatch of a norm from its output's mean and mean square of each image and channel, [N, C].

    An output y = weight · z + bias shows z, which has mean 0 and variance v / (v + epsilon) if nothing has changed.
    """
    weight, bias, variance = (tensors[f"{norm.name}.{part}"] for part in ("weight", "bias", "running_var"))
    alive = np.abs(weight) > 1e-3 * np.abs(weight).max()
    shift = mean.mean(0) - bias
    spread = square.mean(0) - mean.mean(0) ** 2
    scale = weight[alive]
    terms = shift[alive] / scale, spread[alive] / scale**2, variance[alive] / (variance[alive] + norm.epsilon)
    return mismatch(*terms)


def _with_moments(model: onnx.ModelProto, norms: Sequence[Norm]) -> onnx.ModelProto:
    """Add the mean and the mean square of each norm's output over the map, [N, C] each, as outputs of the graph."""
    for norm in norms:
        value = norm.conv or norm.name
        square = f"{value}.square"
        model.graph.node.append(helper.make_node("Mul", [value, value], [square]))
        for source in (value, square):
            output = f"{source}.mean"
            model.graph.node.append(helper.make_node("ReduceMean", [source], [output], axes=[2, 3], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", None]))
    return model


def _ranked(fits: Sequence[Fit], n: int) -> list[Fit]:
    """Return candidates in order of mismatch, first those whose accuracy on ``n`` images may be the best one's.

    On a few hundred images the accuracies of neighbouring normalisations hardly differ, while the statistics do.
    """
    best = max(fit.accuracy or 0.0 for fit in fits)
    margin = 2 * math.sqrt(best * (1 - best) / n)
    return sorted(fits, key=lambda fit: ((fit.accuracy or 0.0) < best - margin, fit.mismatch))
