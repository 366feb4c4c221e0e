"""OpenVINO on the CPU: the default engine."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from wideresnet.engines.base import EngineOptions, OutputsEngine, check_batch, check_process
from wideresnet.errors import EngineError
from wideresnet.machine import available_cpus
from wideresnet.precision import Precision
from wideresnet.records import EngineInfo

# OpenVINO's names in an executed graph -> ours. u8 and i8 are both halves of one int8 convolution.
_PRECISIONS: dict[str, Precision] = {"f32": "f32", "bf16": "bf16", "f16": "f16", "u8": "int8", "i8": "int8"}

# By default each process, and each network, binds its threads to the same first CPUs, of which the others then wait.
UNPINNED = {"ENABLE_CPU_PINNING": False}

Running = tuple[ov.InferRequest, NDArray[np.uint8], int]      # request, its images, and their number


class OpenVinoEngine(OutputsEngine):
    """A graph compiled for this CPU, with its precision set explicitly and read back.

    By default OpenVINO computes in bfloat16 on every CPU that supports it.
    """

    def __init__(self, graph: bytes, options: EngineOptions) -> None:
        threads = options.threads or available_cpus()
        core = ov.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": options.precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": options.hint.upper(),
            **UNPINNED,
        }
        if options.streams:
            settings["NUM_STREAMS"] = options.streams
        if options.cache:
            settings["CACHE_DIR"] = str(options.cache)
        try:
            model = core.read_model(graph)
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot open the graph: {str(error).strip().splitlines()[-1]}") from error
        self._process, self._side = os.getpid(), int(model.inputs[0].partial_shape[1].get_length())
        self._black = np.zeros((1, self._side, self._side, 3), np.uint8)
        # The first tensor of the binding initialises tables. Two threads that do so at once deadlock: one waits for the
        # interpreter lock, the other for the tables.
        ov.Tensor(self._black)
        self._streams = int(self._compiled.get_property("NUM_STREAMS"))
        # Twice as many requests as streams, so that no stream is idle while a batch is prepared.
        self._requests = [self._compiled.create_infer_request() for _ in range(2 * self._streams)]
        version, precision = ov.__version__.partition("-")[0], executed(self._compiled)
        threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))    # it takes no more than there are CPUs
        self.info = EngineInfo("openvino", version, "CPU", precision, threads, self._streams)

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        check_batch(batch, self._side)
        # One request uses one stream, so with several streams a batch is split among them.
        parts = np.array_split(batch, max(1, min(self._streams, len(batch))))
        return np.concatenate(list(self.stream(parts)))

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """See ``OutputsEngine``."""
        check_process(self._process)
        running: deque[Running] = deque()
        try:
            for batch in batches:
                check_batch(batch, self._side)
                if len(running) == 2 * self._streams:
                    yield _finish(running, self._requests)
                request = self._take_request()
                # The request reads the caller's memory, so both are referenced until it is done. OpenVINO cannot run
                # an empty batch: it gets one black image, and nothing of the result is returned.
                count, batch = len(batch), np.ascontiguousarray(batch) if len(batch) else self._black
                request.start_async([batch], share_inputs=True)
                running.append((request, batch, count))
            while running:
                yield _finish(running, self._requests)
        finally:
            for request, *_ in running:
                request.wait()
                self._requests.append(request)

    def _take_request(self) -> ov.InferRequest:
        """Return an idle request. Threads share them; pop and append of a list are atomic."""
        try:
            return self._requests.pop()
        except IndexError:
            return self._compiled.create_infer_request()


def _finish(running: deque[Running], free: list[ov.InferRequest]) -> list[NDArray[np.float32]]:
    """Wait for the oldest request, copy its outputs, and return it to the idle ones."""
    request, _, count = running[0]
    request.wait()
    outputs = [tensor.data[:count].copy() for tensor in request.output_tensors]
    running.popleft()
    free.append(request)
    return outputs


def executed(compiled: ov.CompiledModel, kind: str = "Convolution") -> Precision:
    """Return the precision of most layers of a kind in the executed graph; f32 if there are none."""
    precisions: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) == kind:
            precisions[info["runtimePrecision"].astype(str)] += 1
    return _PRECISIONS[precisions.most_common(1)[0][0]] if precisions else "f32"
