"""The interface of engines and their options."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wideresnet.errors import EngineError
from wideresnet.precision import precision_name
from wideresnet.records import EngineInfo


class Engine(Protocol):
    """A compiled network: arrays to arrays, without image files or labels."""

    info: EngineInfo

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 [N, S, S, 3] -> float32 logits [N, C]; N may differ from call to call, also be 0.

        Raises EngineError for any other shape or dtype.
        """

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits of each batch, in order; the next batches are pulled while earlier ones are computed.

        For throughput: batches are prepared in parallel with the network. At most a few are in flight.
        """


class OutputsEngine(Engine, Protocol):
    """An engine that returns every output of its graph (``graph.outputs`` adds some); the first are the logits."""

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        return next(self.stream([batch]))

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """See ``Engine``."""
        for logits, *_ in self.outputs(batches):
            yield logits

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """Yield, per batch as in ``stream``, every output of the graph in its order, float32 [N, …]."""


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine.

    ``precision`` is the requested arithmetic of convolutions; ``EngineInfo`` has the executed one. ``threads`` 0 means
    all CPUs that the process may use. ``hint`` "latency" gives one batch all threads, "throughput" runs several in
    parallel, each in a stream, and "adaptive" compiles both forms (OpenVINO only). ``streams`` 0 leaves their number to
    the runtime. ``cache`` is a folder for compiled networks, if the runtime supports it.
    """

    precision: Literal["f32", "bf16"] = "f32"
    threads: int = 0
    hint: Literal["latency", "throughput", "adaptive"] = "latency"
    streams: int = 0
    cache: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", precision_name(self.precision))


def check_process(opened_in: int) -> None:
    """Raise EngineError in a child that was forked after its parent, process ``opened_in``, opened a model.

    A fork copies no threads: the runtime would wait for its own forever.
    """
    if os.getpid() != opened_in:
        hint = "start processes with multiprocessing.get_context('spawn'), and load the model in each of them"
        raise EngineError(f"this process was forked from {opened_in}, in which the model was opened", hint)


def check_batch(batch: NDArray[np.uint8], side: int) -> None:
    """Raise EngineError unless ``batch`` is uint8 [N, side, side, 3]."""
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != (side, side, 3):
        raise EngineError(
            f"this network takes RGB uint8 [N, {side}, {side}, 3], got {batch.dtype} {list(batch.shape)}",
            hint="'wideresnet.preprocess' makes such crops; give images of other sizes as a list: list(images)",
        )
