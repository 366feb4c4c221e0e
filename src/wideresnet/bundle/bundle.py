"""A model as one value: the graph, the labels and the card."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from wideresnet.architectures import Architecture, get_architecture, with_variant
from wideresnet.errors import ConfigError
from wideresnet.records import Alpha, Labels, ModelCard

MEMBERS = "members"                                # the folder of a cascade's networks: members/0, members/1, …

if TYPE_CHECKING:
    import onnx

    from wideresnet.weights.stem import Stem


@dataclass(frozen=True, eq=False)
class Bundle:
    """One model, in memory. ``graph`` is serialised ONNX: RGB uint8 [N, S, S, 3] -> float32 logits [N, C].

    Derived values are computed once. ``dataclasses.replace`` makes a bundle without them.
    """

    card: ModelCard
    labels: Labels
    graph: bytes
    stem: Stem | None = None                       # of a weights file whose normalisation is assumed
    folder: Path | None = None                     # that it was read from
    members: tuple[Bundle, ...] = ()               # of a cascade, which has no graph; see ``records.Cascade``
    source: str = ""                               # name or path that it was loaded by, or what it is derived from

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the graph, lower-case hex; of a cascade that of its members' hashes."""
        return hashlib.sha256(self.graph + "".join(member.sha256 for member in self.members).encode()).hexdigest()

    @property
    def facts(self) -> dict[str, object]:
        """The identity of the model, for reports."""
        card = self.card
        hashes = {"weights": card.weights_sha256, "source of the weights": card.weights_source, "graph": self.sha256}
        return {"model": card.name, **hashes}

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed graph; read only, because it is shared.

        Raises EngineError if the bytes are not ONNX, ConfigError for a cascade.
        """
        self.check_single()
        from wideresnet.graph.outputs import parse_graph  # imports onnx, which running a model does not need

        return parse_graph(self.graph)

    def check_single(self) -> None:
        """Raise ConfigError for a cascade, where the graph of one network is needed."""
        if self.members:
            name, last = self.card.name, len(self.members) - 1
            path = (self.folder or Path(name)) / MEMBERS / str(last)
            # An embedded cascade has embedded models as its members.
            member = self.members[last].card.name if self.folder and not path.is_dir() else path
            hint = f"name one of them, such as {member}"
            raise ConfigError(f"{name} is a cascade of {last + 1} networks: this takes one", hint)

    def __reduce__(self) -> tuple[type[Bundle], tuple[object, ...]]:
        # derived values are not sent to other processes
        return Bundle, (self.card, self.labels, self.graph, None, None, self.members)

    def with_model(self, model: onnx.ModelProto, card: ModelCard | None = None) -> Bundle:
        """Return a bundle with ``model`` as its graph, and ``card`` if given."""
        return Bundle(card or self.card, self.labels, model.SerializeToString(), source=self.source)


def network_of(card: ModelCard) -> Architecture:
    """Return the architecture that a card states, with its classes and variant. Raises ConfigError."""
    return with_variant(get_architecture(card.architecture, card.classes), card.variant)


def with_alpha(bundle: Bundle, alpha: Alpha | None) -> Bundle:
    """Return the bundle with ``alpha`` on its card for transparent images; None changes nothing."""
    if alpha is None:
        return bundle
    bundle.check_single()
    return replace(bundle, card=replace(bundle.card, preprocess=replace(bundle.card.preprocess, alpha=alpha)))


def make_bundle(
    architecture: Architecture,
    tensors: Mapping[str, NDArray[np.generic]],
    card: ModelCard,
    labels: Labels,
    precision: Literal["fp32", "fp16"] = "fp32",
) -> Bundle:
    """Return a bundle made from tensors that fit ``architecture`` (see ``weights.recognise``).

    Raises ConfigError if the number of labels is not the number of classes.
    """
    from wideresnet.graph import write_graph  # imports onnx, which running a model does not need

    if len(labels.names) != architecture.classes:
        problem = f"{len(labels.names)} labels for {architecture.classes} classes"
        raise ConfigError(problem, hint="name every class once in the label file")
    graph = write_graph(architecture, tensors, card.preprocess, half=precision == "fp16")
    stated = replace(card, classes=architecture.classes, variant=architecture.variant(), precision=precision)
    card = replace(stated, made_with=tool_versions())
    return Bundle(card, labels, graph.SerializeToString())


def tool_versions() -> dict[str, str]:
    """Return the versions that decide the bytes of a bundle."""
    return {
        "wideresnet": metadata.version("wideresnet"),
        "onnx": metadata.version("onnx"),
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
    }
