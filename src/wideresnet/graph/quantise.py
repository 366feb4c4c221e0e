"""Float graph -> int8 graph by NNCF's post-training quantisation (extra ``compile``).

Weights get a scale a channel, activations one a tensor, written as QuantizeLinear and DequantizeLinear pairs
(QDQ) that OpenVINO and ONNX Runtime both turn into int8 convolutions. Biases are corrected for the mean error
that rounding leaves.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np
import onnx
from numpy.typing import NDArray

from wideresnet.errors import ConfigError, needs_extra
from wideresnet.graph.write import INPUT


def quantise(model: onnx.ModelProto, pictures: Sequence[NDArray[np.uint8]]) -> onnx.ModelProto:
    """The int8 graph of a float32 graph of ``write_graph``, with ranges from ``pictures``, uint8 [S, S, 3] each.

    The same pictures give the same graph. Raises MissingExtra without nncf, ConfigError without pictures.
    """
    if not pictures:
        raise ConfigError("int8 needs pictures to take the ranges of activations from", hint="give --calibration")
    # NNCF decides when it is imported whether it reports its use over the network: it must not.
    os.environ["NNCF_CI"] = "1"
    with needs_extra("int8", "compile"):
        import nncf
    logging.getLogger("nncf").setLevel(logging.ERROR)
    dataset = nncf.Dataset(list(pictures), lambda picture: {INPUT: picture[None]})
    with redirect_stdout(sys.stderr):              # its progress bars; stdout belongs to results
        quantised: onnx.ModelProto = nncf.quantize(
            model, dataset, subset_size=len(pictures), fast_bias_correction=True
        )
    onnx.checker.check_model(quantised)
    return quantised
