"""Eager torch (extra ``train``): the reference the other engines are held against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from wideresnet.architectures import Architecture
from wideresnet.engines.base import EngineOptions, check_batch
from wideresnet.errors import EngineError
from wideresnet.graph import read_graph
from wideresnet.machine import available_cpus
from wideresnet.models import create_model
from wideresnet.records import EngineInfo, Preprocess


class PyTorchEngine:
    """The torch module of an architecture, with the weights read back out of a float graph."""

    def __init__(
        self, graph: bytes, options: EngineOptions, architecture: Architecture, preprocess: Preprocess
    ) -> None:
        self._model = open_module(graph, architecture)
        self._mean, self._std = (
            torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std)
        )
        self._side, self._bf16 = preprocess.crop, options.precision == "bf16"
        threads = options.threads or available_cpus()
        torch.set_num_threads(threads)
        self.info = EngineInfo("pytorch", torch.__version__, "CPU", options.precision, threads)

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        check_batch(batch, self._side)
        # torch shares the memory and warns of what it may not write, though nothing here writes.
        pixels = torch.from_numpy(np.require(batch, requirements=("C", "W")))
        x = pixels.permute(0, 3, 1, 2).float() / 255
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            logits: torch.Tensor = self._model((x - self._mean) / self._std)
        return logits.float().numpy()

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """See ``Engine``; one after the other."""
        return map(self, batches)


def open_module(graph: bytes, architecture: Architecture) -> torch.nn.Module:
    """The module of ``architecture`` in eval mode, with the weights of a float graph.

    Raises EngineError for what is no graph, BundleError for a graph of something else.
    """
    try:
        model = onnx.ModelProto.FromString(graph)
    except Exception as error:                     # protobuf's DecodeError; protobuf comes without types
        raise EngineError(f"PyTorch cannot open the graph: {error}") from error
    module = create_model(architecture).eval()
    tensors = read_graph(model, architecture)
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    return module
