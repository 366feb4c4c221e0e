"""Torch's ways of running a network (extra ``train``): eager, channels last, compiled, and the usual script."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from wideresnet.architectures import get_architecture
from wideresnet.bundle import Bundle
from wideresnet.engines import EngineOptions
from wideresnet.engines.pytorch import open_module
from wideresnet.errors import EngineError
from wideresnet.images.preprocess import preprocess
from wideresnet.machine import available_cpus
from wideresnet.records import EngineInfo, Item, Precision, Preprocess
from wideresnet.tasks.bench.interleave import Work


class TorchWay:
    """The torch module in one of the ways people run it; an ``Engine``.

    ``last``: channels_last memory. ``compiled``: torch.compile with frozen weights; in bfloat16 the whole
    module is converted, as inductor wants it.
    """

    def __init__(self, bundle: Bundle, options: EngineOptions, *, last: bool, compiled: bool) -> None:
        self._model, self._spec = _module(bundle), bundle.card.preprocess
        self._type = torch.bfloat16 if options.precision == "bf16" else torch.float32
        self._layout = torch.channels_last if last else torch.contiguous_format
        # torch's stubs know the two arguments only apart.
        self._model.to(self._type)
        self._model.to(memory_format=self._layout)  # type: ignore[call-overload]
        self._run: Callable[[torch.Tensor], torch.Tensor] = self._model
        if compiled:
            self._run = torch.compile(self._model, options={"freezing": True})
        self._threads = options.threads or available_cpus()
        way = "torch-compile" if compiled else f"torch-eager{'-channels-last' if last else ''}"
        precision: Precision = options.precision
        self.info = EngineInfo(way, torch.__version__, "CPU", precision, self._threads)
        try:
            self(np.zeros((1, self._spec.crop, self._spec.crop, 3), np.uint8)) if compiled else None
        except Exception as error:                 # inductor: no compiler, a compiler that fails, anything
            raise EngineError(f"torch.compile cannot compile here: {str(error).splitlines()[0]}") from error

    @torch.no_grad()
    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Engine``."""
        torch.set_num_threads(self._threads)
        x = _normalised(torch.from_numpy(batch).permute(0, 3, 1, 2), self._spec)
        return self._run(x.to(dtype=self._type, memory_format=self._layout)).float().numpy()

    def stream(self, batches: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """One after the other: torch runs a batch in all its threads."""
        return map(self, batches)


class _Images(Dataset[tuple[torch.Tensor, str]]):
    """Image files as normalised tensors."""

    def __init__(self, spec: Preprocess) -> None:
        self.spec = spec

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, str]:
        crop = preprocess(Image.open(item.path).convert("RGB"), self.spec)
        return _normalised(torch.from_numpy(crop).permute(2, 0, 1), self.spec), item.path


class _Turn:
    """The images of the current turn, as a sampler, so that a turn can end at any time."""

    items: Iterator[Item] = iter(())

    def __iter__(self) -> Iterator[Item]:
        return self.items


def plain_script(bundle: Bundle, batch: int, threads: int, out: Path) -> tuple[EngineInfo, Work]:
    """Pillow transforms in a DataLoader with a worker a CPU, eager float32, the five likeliest classes to a file."""
    model, turn, labels = _module(bundle), _Turn(), bundle.labels.names
    threads = threads or available_cpus()
    # Spawned: a forked worker would have the state of OpenVINO's threads without the threads.
    loader = DataLoader(
        _Images(bundle.card.preprocess), batch, sampler=turn, num_workers=available_cpus(),
        persistent_workers=True, multiprocessing_context="spawn",
    )  # fmt: skip

    def work(items: Iterator[Item], done: Callable[[], None]) -> None:
        turn.items = items
        torch.set_num_threads(threads)
        with torch.no_grad(), out.open("w", encoding="utf-8") as file:
            batches = iter(loader)
            # It has set a handler, and on a CPU whose tile registers are in use the kernel may fail to run one.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for x, paths in batches:
                values, indices = model(x).softmax(1).topk(min(5, len(labels)))
                for path, scores, classes in zip(paths, values.tolist(), indices.tolist(), strict=True):
                    answer = {labels[index]: score for index, score in zip(classes, scores, strict=True)}
                    file.write(json.dumps({"path": path, "predictions": answer}) + "\n")
                    done()

    return EngineInfo("plain-script", torch.__version__, "CPU", "f32", threads), work


def _module(bundle: Bundle) -> torch.nn.Module:
    return open_module(bundle.graph, get_architecture(bundle.card.architecture, bundle.card.classes))


def _normalised(x: torch.Tensor, spec: Preprocess) -> torch.Tensor:
    """uint8 [..., 3, S, S] -> float32, as torchvision's ToTensor and Normalize do."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    return (x.float() / 255 - mean) / std
