"""OpenVINO on the CPU: the default engine."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator

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
        settings = {
            "INFERENCE_PRECISION_HINT": options.precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": options.hint.upper(),
        }
        if options.streams:
            settings["NUM_STREAMS"] = options.streams
        if options.cache:
            settings["CACHE_DIR"] = str(options.cache)
        try:
            model = core.read_model(graph)
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot open the graph: {_last_line(error)}") from error
        self._side = int(model.inputs[0].partial_shape[1].get_length())
        self._classes = int(model.outputs[0].partial_shape[1].get_length())
        self._streams = int(self._compiled.get_property("NUM_STREAMS"))
        # As many again wait their turn, so that no stream stands still while a batch is being made.
        self._requests = [self._compiled.create_infer_request() for _ in range(2 * self._streams)]
        version, precision = ov.__version__.partition("-")[0], executed(self._compiled)
        self.info = EngineInfo("openvino", version, "CPU", precision, threads, self._streams)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        check_batch(batch, self._side)
        if not len(batch):
            return np.empty((0, self._classes), np.float32)
        # One request uses one stream, so with several streams a batch is split among them.
        parts = np.array_split(batch, min(self._streams, len(batch)))
        return np.concatenate(list(self.stream(parts)))

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """See ``Engine``."""
        free = list(self._requests)
        running: deque[tuple[ov.InferRequest, NDArray[np.uint8]]] = deque()
        try:
            for batch in batches:
                check_batch(batch, self._side)
                if not free:
                    free.append(running[0][0])
                    yield _finish(running)
                request = free.pop()
                # The request reads the caller's memory: both are kept until it is done.
                batch = np.ascontiguousarray(batch)
                request.start_async([batch], share_inputs=True)
                running.append((request, batch))
            while running:
                yield _finish(running)
        finally:
            for request, _ in running:
                request.wait()


def _finish(running: deque[tuple[ov.InferRequest, NDArray[np.uint8]]]) -> NDArray[np.float32]:
    """Wait for the oldest request and take its answer out of its memory, which is used again."""
    request, _ = running[0]
    request.wait()
    logits: NDArray[np.float32] = request.output_tensors[0].data.copy()
    running.popleft()
    return logits


def executed(compiled: ov.CompiledModel, kind: str = "Convolution") -> Precision:
    """The precision in which most layers of a kind run, read from the executed graph; f32 when there are none."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) == kind:
            found[info["runtimePrecision"].astype(str)] += 1
    return _PRECISIONS[found.most_common(1)[0][0]] if found else "f32"


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
