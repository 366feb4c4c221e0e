"""Sensitivity of layers to int8: each layer quantised alone, all others in float32, on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from wideresnet.bundle import Bundle, network_of
from wideresnet.engines import open_engine
from wideresnet.graph.quantise import only_quantised, quantised_layers
from wideresnet.logits import deviation, divergence
from wideresnet.records import LayerLoss

IMAGES = 64                                        # of the calibration: those of the gate are for the gate only
BATCH = 16


def layer_losses(
    reference: Bundle,
    quantised: onnx.ModelProto,
    crops: Sequence[NDArray[np.uint8]],
    measured: Sequence[LayerLoss] = (),
) -> Iterator[LayerLoss]:
    """Yield the loss of each quantised layer, in the order of the graph, except those ``measured`` before.

    ``crops`` are RGB uint8 [S, S, 3]; the first 64 are used.
    """
    model, batch = reference.model, np.stack(crops[:IMAGES])
    done = {loss.name for loss in measured}
    layers = {name: op for name, op in quantised_layers(quantised, model).items() if name not in done}
    if not layers:
        return
    logits = _logits(reference, batch)
    macs = network_of(reference.card).layer_macs(reference.card.preprocess.crop)
    shapes = {c.name: tuple(c.dims) for c in model.graph.initializer}
    for name, op in layers.items():
        alone = only_quantised(quantised, model, name)
        quantised_logits = _logits(reference.with_model(alone), batch)
        loss, fraction = float(divergence(logits, quantised_logits).mean()), macs.get(name, 0) / sum(macs.values())
        relative = deviation(logits, quantised_logits)
        yield LayerLoss(name, op, shapes.get(f"{name}.weight", ()), fraction, loss, relative, len(batch))


def _logits(bundle: Bundle, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    engine = open_engine(bundle)
    return np.concatenate([engine(batch[k : k + BATCH]) for k in range(0, len(batch), BATCH)])
