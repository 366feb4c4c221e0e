"""Random weights that behave like trained ones, for networks whose weights are not here: good to measure speed.

Convolutions are He-initialised from a seed. The statistics of every batch norm are those of what really
reaches it: the graph is walked node by node in numpy on a few images, and where a norm stands, mean and
variance of each channel are measured and taken. So activations neither vanish nor explode at any depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from wideresnet.architectures import Architecture, Conv, Norm, get_architecture
from wideresnet.bundle import Bundle, make_bundle
from wideresnet.graph import write_graph
from wideresnet.graph.fold import EPSILON, unfolded
from wideresnet.graph.write import INPUT
from wideresnet.images.loader import load_crop
from wideresnet.images.noise import noise
from wideresnet.records import Labels, ModelCard, Preprocess
from wideresnet.tasks.classify.classify import InputImages
from wideresnet.tasks.load.load import usual_preprocess

Array = NDArray[np.float32]
Tensors = dict[str, NDArray[np.generic]]

IMAGES = 4                                       # 196 values a channel even where maps are 7×7


def random_model(name: str, side: int = 0, data: Path | None = None) -> Bundle:
    """The architecture called ``name`` for images of ``side`` pixels (0: its own), measured on some of ``data``.

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
    """A model that has learnt nothing. ``pictures``: uint8 [N, S, S, 3]; the same arguments give the same model."""
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
    labels = Labels(tuple(f"class {index}" for index in range(architecture.classes)))
    return make_bundle(architecture, tensors, card, labels)


def random_tensors(architecture: Architecture, seed: int) -> Tensors:
    """He-normal convolutions (fan-in), unlike scales and shifts of norms, statistics of norms that do nothing."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in architecture.layers():
        if isinstance(layer, Norm):
            tensors |= unfolded(np.ones(layer.channels), np.zeros(layer.channels), layer.name)
            continue
        kernel = (layer.kernel, layer.kernel) if isinstance(layer, Conv) else ()
        shape = (layer.c_out, layer.c_in, *kernel)
        scale = math.sqrt((2 if kernel else 1) / math.prod(shape[1:]))
        tensors[f"{layer.name}.weight"] = rng.standard_normal(shape, np.float32) * np.float32(scale)
        if not kernel:
            tensors[f"{layer.name}.bias"] = np.zeros(layer.c_out, np.float32)
    return tensors


def measured_norms(
    architecture: Architecture, tensors: Tensors, preprocess: Preprocess, images: NDArray[np.uint8]
) -> Tensors:
    """Statistics for every norm, each measured behind the ones before it; scales in [0.5, 1.5], shifts around 0."""
    rng = np.random.default_rng(len(tensors))
    model = write_graph(architecture, tensors, preprocess)
    norms, found = _norm_at(architecture), Tensors()
    values: dict[str, NDArray[np.generic]] = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
    values[INPUT] = images
    last_use = {name: index for index, node in enumerate(model.graph.node) for name in node.input}
    for index, node in enumerate(model.graph.node):
        x = _RUN[node.op_type](_attributes(node), *(values[name] for name in node.input))
        if norm := norms.get(node.name):
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            weight = rng.uniform(0.5, 1.5, len(mean)).astype(np.float32)
            bias = (0.1 * rng.standard_normal(len(mean))).astype(np.float32)
            parts = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
            found |= {f"{norm}.{part}": value for part, value in parts.items()}
            factor = weight / np.sqrt(variance + np.float32(EPSILON))
            x = (x - mean[:, None, None]) * factor[:, None, None] + bias[:, None, None]
        values[node.output[0]] = x
        for name in node.input:                    # activations of large networks are large
            if last_use[name] == index:
                values.pop(name, None)
    return found


def _norm_at(architecture: Architecture) -> dict[str, str]:
    """The node of the graph whose output a norm is of -> that norm: its convolution's, or its own."""
    found, before = {}, None
    preact = architecture.block == "preact"
    for layer in architecture.layers():
        if isinstance(layer, Norm):
            # Of a pre-activation block only bn2 follows a convolution; the others follow a sum.
            alone = preact and not layer.name.endswith(".bn2")
            found[layer.name if alone or before is None else before] = layer.name
        before = layer.name
    return found


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _conv(of: dict[str, Any], x: Array, weight: Array, bias: Array | None = None) -> Array:
    """[N, C, H, W] by [O, C, k, k]: a matrix product for each of the k · k places of the kernel, summed."""
    (stride, _), pad, kernel = of["strides"], of["pads"][0], weight.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = ((side - kernel) // stride + 1 for side in x.shape[2:])
    y = np.zeros((len(x), len(weight), rows * columns), np.float32)
    for i in range(kernel):
        for j in range(kernel):
            part = x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
            y += weight[:, :, i, j] @ part.reshape(len(x), x.shape[1], -1)
    if bias is not None:
        y += bias[:, None]
    return y.reshape(len(x), len(weight), rows, columns)


def _max_pool(of: dict[str, Any], x: Array) -> Array:
    """3×3, stride 2, a border of nothing."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    highest: Array = windows.max((4, 5))
    return highest


_RUN: dict[str, Callable[..., Array]] = {
    "Cast": lambda of, x: x.astype(np.float32),
    "Sub": lambda of, x, y: x - y,
    "Mul": lambda of, x, y: x * y,
    "Add": lambda of, x, y: x + y,
    "Relu": lambda of, x: np.maximum(x, 0),
    "Transpose": lambda of, x: x.transpose(of["perm"]),
    "Conv": _conv,
    "MaxPool": _max_pool,
    "GlobalAveragePool": lambda of, x: x.mean((2, 3), keepdims=True),
    "Flatten": lambda of, x: x.reshape(len(x), -1),
    "Gemm": lambda of, x, weight, bias: x @ weight.T + bias,
}
