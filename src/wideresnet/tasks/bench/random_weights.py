"""Models with random weights, to measure the speed of networks whose weights are not available.

Convolutions are He-initialised from a seed. The statistics of every batch norm are measured: the graph is run node by
node on a few images, and mean and variance of each channel are taken where a norm is. Activations therefore neither
vanish nor explode at any depth, as in trained networks.
"""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from wideresnet.architectures import Architecture, get_architecture
from wideresnet.bundle import Bundle, make_bundle
from wideresnet.graph import write_graph
from wideresnet.graph.fold import unfolded
from wideresnet.graph.write import INPUT
from wideresnet.images.loader import load_crop
from wideresnet.images.noise import noise
from wideresnet.layers import Conv, Norm
from wideresnet.records import ModelCard, Preprocess
from wideresnet.tasks.classify.sources import InputImages
from wideresnet.tasks.load.assumed_card import usual_labels, usual_preprocess

Tensors = dict[str, NDArray[np.generic]]

IMAGES = 4                                       # 196 values a channel even where maps are 7×7


def random_model(name: str, side: int = 0, data: Path | None = None) -> Bundle:
    """Return a model of the architecture ``name`` for images of ``side`` pixels (0: its own), measured on ``data``.

    Raises ConfigError for an unknown name, ImageError for images that cannot be read.
    """
    architecture = get_architecture(name)
    preprocess = usual_preprocess(architecture).at(side)
    items = islice(InputImages([data]), IMAGES) if data else ()
    crops = [load_crop(item, preprocess) for item in items] or list(noise(preprocess.crop)[:IMAGES])
    return random_bundle(architecture, preprocess, np.stack(crops))


def random_bundle(
    architecture: Architecture, preprocess: Preprocess, images: NDArray[np.uint8], seed: int = 0
) -> Bundle:
    """Return an untrained model. ``images``: uint8 [N, S, S, 3]; equal arguments give equal models."""
    tensors = random_tensors(architecture, seed)
    tensors |= measured_norms(architecture, tensors, preprocess, images)
    card = ModelCard(
        name=f"{architecture.name}.random",
        architecture=architecture.name,
        classes=architecture.classes,
        preprocess=preprocess,
        precision="fp32",
        licence="none: random numbers",
        notes={"weights": f"random, seed {seed}; norms measured on {len(images)} images. It has learnt nothing"},
    )
    return make_bundle(architecture, tensors, card, usual_labels(card))


def random_tensors(architecture: Architecture, seed: int) -> Tensors:
    """Return He-normal convolutions (fan-in) and norms that are the identity."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in architecture.layers():
        if isinstance(layer, Norm):
            tensors |= unfolded(np.ones(layer.channels), np.zeros(layer.channels), layer)
            continue
        kernel = (layer.kernel, layer.kernel) if isinstance(layer, Conv) else ()
        shape = (layer.c_out, layer.c_in, *kernel)
        scale = math.sqrt((2 if kernel else 1) / math.prod(shape[1:]))
        tensors[f"{layer.name}.weight"] = rng.standard_normal(shape, np.float32) * np.float32(scale)
        if f"{layer.name}.bias" in layer.tensors():
            tensors[f"{layer.name}.bias"] = np.zeros(layer.c_out, np.float32)
    return tensors


def measured_norms(
    architecture: Architecture, tensors: Tensors, preprocess: Preprocess, images: NDArray[np.uint8]
) -> Tensors:
    """Return tensors for every norm: statistics behind the norms before it, scales in [0.5, 1.5], shifts around 0."""
    rng = np.random.default_rng(len(tensors))
    model = write_graph(architecture, tensors, preprocess)
    layers, measured = architecture.layers(), Tensors()
    norms = {layer.conv or layer.name: layer for layer in layers if isinstance(layer, Norm)}    # by node
    values: dict[str, NDArray[np.generic]] = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    values[INPUT] = images
    last_use = {name: index for index, node in enumerate(model.graph.node) for name in node.input}
    for index, node in enumerate(model.graph.node):
        outputs: Any = ReferenceEvaluator(node).run(None, {name: values[name] for name in node.input})
        x = outputs[0]
        if norm := norms.get(node.name):
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            weight = rng.uniform(0.5, 1.5, len(mean)).astype(np.float32)
            bias = (0.1 * rng.standard_normal(len(mean))).astype(np.float32)
            statistics = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
            measured |= {f"{norm.name}.{key}": value for key, value in statistics.items()}
            factor = weight / np.sqrt(variance + np.float32(norm.epsilon))
            x = (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]
        values[node.output[0]] = x
        for name in node.input:                    # activations of large networks are large
            if last_use[name] == index:
                values.pop(name, None)
    return measured
