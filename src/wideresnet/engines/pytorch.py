"""Eager torch (extra ``train``), the reference of the other engines."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch.utils.hooks import RemovableHandle

from wideresnet.architectures import Architecture
from wideresnet.engines.base import EngineOptions, OutputsEngine, check_batch, check_process
from wideresnet.graph import read_graph
from wideresnet.graph.calibrated import SCORE, known_score_graph
from wideresnet.graph.outputs import FEATURES, MAP, margin_of, parse_graph, temperature_of
from wideresnet.graph.write import OUTPUT
from wideresnet.machine import available_cpus
from wideresnet.models import create_model
from wideresnet.records import EngineInfo, Preprocess

_PROCESS = os.getpid()                             # where torch's threads are


class PyTorchEngine(OutputsEngine):
    """The torch module of an architecture, with the weights read back out of a float graph."""

    def __init__(
        self, graph: bytes, options: EngineOptions, architecture: Architecture, preprocess: Preprocess
    ) -> None:
        check_process(_PROCESS)
        # The module is built from the architecture; the graph provides the weights and the names of further outputs.
        model = parse_graph(graph)
        self._model, self._names = open_module(model, architecture), [output.name for output in model.graph.output][1:]
        self._temperature, self._margin = temperature_of(model), margin_of(model)
        self._score = ReferenceEvaluator(known_score_graph(model)) if SCORE in self._names else None
        self._mean, self._std = (
            torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std)
        )
        self._side, self._bf16 = preprocess.crop, options.precision == "bf16"
        threads = options.threads or available_cpus()
        self.info = EngineInfo("pytorch", torch.__version__, "CPU", options.precision, threads)
        self._lock = threading.Lock()              # the module's hooks would store the outputs of other threads' runs

    def _scale(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._margin.scale(logits) if self._margin else logits

    @torch.inference_mode()
    def _run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the logits divided by the temperature."""
        check_process(_PROCESS)
        check_batch(batch, self._side)
        torch.set_num_threads(self.info.threads)       # of the process: another engine may have set its own
        # torch shares the memory and would warn about read-only arrays, although nothing writes to it.
        pixels = torch.from_numpy(np.require(batch, requirements=("C", "W")))
        x = pixels.permute(0, 3, 1, 2).float() / 255
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            logits: torch.Tensor = self._model((x - self._mean) / self._std)
        return (logits.float() / self._temperature).numpy()

    def outputs(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
        """See ``OutputsEngine``; by forward hooks, one after the other."""
        outputs: dict[str, torch.Tensor] = {}
        names = [FEATURES] if self._score else self._names
        hooks = [_capture(self._model, name, outputs) for name in names]
        try:
            for batch in batches:
                with self._lock:
                    logits, values = self._run(batch), [outputs[name].float().numpy() for name in names]
                inputs = {FEATURES: values[0], OUTPUT: logits} if self._score else {}
                yield [self._scale(logits), *(self._score.run(None, inputs) if self._score else values)]
        finally:
            for hook in hooks:
                hook.remove()


def open_module(model: onnx.ModelProto, architecture: Architecture) -> torch.nn.Module:
    """Return the module of ``architecture`` in eval mode, with the weights of a float graph.

    Raises BundleError for a graph of another architecture.
    """
    module = create_model(architecture).eval()
    tensors = read_graph(model, architecture)
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    return module


def _capture(module: torch.nn.Module, name: str, outputs: dict[str, torch.Tensor]) -> RemovableHandle:
    """Register a hook that stores the output ``name`` of ``graph.outputs`` in ``outputs`` on each run."""

    def store(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        outputs[name] = inputs[0] if name in readers else output

    readers = {MAP: "pool", FEATURES: "fc"}        # the layers that read these
    return module.get_submodule(readers.get(name, name)).register_forward_hook(store)
