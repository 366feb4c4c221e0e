"""Intermediate features of a network beside its logits, in any engine and in the same pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.engines.base import EngineOptions, OutputsEngine
from wideresnet.engines.open import open_engine
from wideresnet.records import Batch


@dataclass(frozen=True, eq=False)
class Features:
    """An engine with further outputs, ``names`` as in ``graph.outputs``."""

    engine: OutputsEngine
    names: tuple[str, ...]

    def __call__(self, batch: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """RGB uint8 [N, S, S, 3] -> "logits" float32 [N, C], and each of ``names`` float32 [N, F] or [N, F, H, W]."""
        return next(self.stream([batch]))

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[dict[str, NDArray[np.float32]]]:
        """Yield the same for each batch, in order; the next ones are pulled while earlier ones are computed."""
        for outputs in self.engine.outputs(batches):
            yield dict(zip(("logits", *self.names), outputs, strict=True))

    def stream_batches(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, dict[str, NDArray[np.float32]]]]:
        """Yield each batch with its outputs, as ``stream`` computes them."""
        batches, ahead = tee(batches)
        yield from zip(batches, self.stream(batch.pixels for batch in ahead), strict=True)


def open_features(
    bundle: Bundle, names: Sequence[str], engine: str = "openvino", options: EngineOptions | None = None
) -> Features:
    """Open the bundle's graph with further outputs in the runtime ``engine``.

    Raises the errors of ``open_engine``, and ConfigError for a layer that the network does not have.
    """
    from wideresnet.graph.outputs import with_outputs  # imports onnx, which logits alone do not need

    return Features(open_engine(bundle.with_model(with_outputs(bundle.model, names)), engine, options), tuple(names))
