"""A model as one value: the graph, the labels, and the card that says who it is."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.errors import ConfigError
from wideresnet.records import Alpha, Labels, ModelCard


@dataclass(frozen=True, eq=False)
class Bundle:
    """One model, in memory. ``graph`` is ONNX: RGB uint8 [batch, S, S, 3] -> float32 logits [batch, C]."""

    card: ModelCard
    labels: Labels
    graph: bytes


def with_alpha(bundle: Bundle, alpha: Alpha | None) -> Bundle:
    """The same model, with ``alpha`` on its card for transparent images; None: as the card says."""
    if alpha is None:
        return bundle
    return replace(bundle, card=replace(bundle.card, preprocess=replace(bundle.card.preprocess, alpha=alpha)))


def make_bundle(
    architecture: Architecture,
    tensors: Mapping[str, NDArray[np.generic]],
    card: ModelCard,
    labels: Labels,
    precision: Literal["fp32", "fp16"] = "fp32",
) -> Bundle:
    """A bundle from tensors that fit ``architecture`` (see ``weights.keymaps``).

    Raises ConfigError when the number of labels is not the number of classes.
    """
    from wideresnet.graph import write_graph  # with onnx; whoever only runs a bundle starts sooner

    if len(labels.names) != architecture.classes:
        raise ConfigError(
            f"{len(labels.names)} labels for {architecture.classes} classes",
            hint="the label file must name every class once",
        )
    graph = write_graph(architecture, tensors, card.preprocess, half=precision == "fp16")
    card = replace(card, classes=architecture.classes, precision=precision, made_with=tool_versions())
    return Bundle(card, labels, graph.SerializeToString())


def tool_versions() -> dict[str, str]:
    """Versions of what decides the bytes of a bundle."""
    return {
        "wideresnet": metadata.version("wideresnet"),
        "onnx": metadata.version("onnx"),
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
    }
