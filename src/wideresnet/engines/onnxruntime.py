"""ONNX Runtime on the CPU (extra ``onnxruntime``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from wideresnet.engines.base import EngineOptions, OutputsEngine, check_batch
from wideresnet.errors import EngineError, errors_as
from wideresnet.machine import available_cpus
from wideresnet.records import EngineInfo


class OnnxRuntimeEngine(OutputsEngine):
    """A graph in ONNX Runtime; convolutions in float32, or in int8 where the graph is quantised."""

    def __init__(self, graph: bytes, options: EngineOptions) -> None:
        if options.precision != "f32":
            problem = f"ONNX Runtime has no {options.precision} convolutions on CPUs"
            raise EngineError(problem, hint="use the engine openvino")
        threads = options.threads or available_cpus()
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        # Its exceptions share no base class but Exception.
        with errors_as(Exception, EngineError, "ONNX Runtime cannot open the graph"):
            self._session = ort.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        images = self._session.get_inputs()[0]
        self._name, self._side = images.name, int(images.shape[1])
        quantised = b"QuantizeLinear" in graph
        self.info = EngineInfo("onnxruntime", ort.__version__, "CPU", "int8" if quantised else "f32", threads)

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """See ``OutputsEngine``; one after the other."""
        for batch in batches:
            check_batch(batch, self._side)
            yield self._session.run(None, {self._name: batch})
