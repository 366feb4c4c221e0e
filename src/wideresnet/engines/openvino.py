"""OpenVINO on the CPU: the default engine."""

from __future__ import annotations

from collections import Counter

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from wideresnet.engines.base import EngineOptions, check_batch
from wideresnet.errors import EngineError
from wideresnet.machine import available_cpus
from wideresnet.records import EngineInfo, Precision

# OpenVINO's names in an executed graph -> ours. u8 and i8 are both halves of one int8 convolution.
_PRECISIONS: dict[str, Precision] = {"f32": "f32", "bf16": "bf16", "f16": "f16", "u8": "int8", "i8": "int8"}


class OpenVinoEngine:
    """A graph compiled for this CPU, with its precision set and read back, never left to the default.

    Left alone, OpenVINO computes in bfloat16 on every CPU that has it.
    """

    def __init__(self, graph: bytes, options: EngineOptions) -> None:
        threads = options.threads or available_cpus()
        core = ov.Core()
        try:
            model = core.read_model(graph)
            self._compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": options.precision,
                    "INFERENCE_NUM_THREADS": threads,
                    "PERFORMANCE_HINT": options.hint.upper(),
                },
            )
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot open the graph: {_last_line(error)}") from error
        self._side = int(model.inputs[0].partial_shape[1].get_length())
        self._classes = int(model.outputs[0].partial_shape[1].get_length())
        count = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [self._compiled.create_infer_request() for _ in range(count)]
        self.info = EngineInfo("openvino", ov.__version__.partition("-")[0], "CPU", _executed(self._compiled), threads)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        check_batch(batch, self._side)
        if not len(batch):
            return np.empty((0, self._classes), np.float32)
        # One request uses one stream, so with several streams a batch is split among them.
        parts = np.array_split(np.ascontiguousarray(batch), min(len(self._requests), len(batch)))
        running = list(zip(self._requests, parts, strict=False))
        for request, part in running:
            request.start_async([part], share_inputs=True)
        for request, _ in running:
            request.wait()
        return np.concatenate([request.output_tensors[0].data for request, _ in running])


def _executed(compiled: ov.CompiledModel) -> Precision:
    """The precision in which most convolutions run, read from the executed graph."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) == "Convolution":
            found[info["runtimePrecision"].astype(str)] += 1
    return _PRECISIONS[found.most_common(1)[0][0]]


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
