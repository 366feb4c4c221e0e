"""What people run without us, to be set beside us where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openvino as ov

from wideresnet.bundle import Bundle
from wideresnet.engines import Engine, EngineOptions
from wideresnet.engines.openvino import executed
from wideresnet.errors import needs_extra
from wideresnet.machine import available_cpus
from wideresnet.records import EngineInfo
from wideresnet.tasks.bench.interleave import Work
from wideresnet.tasks.bench.options import COMPILED, EAGER, PLAIN_SCRIPT, STOCK


def open_baseline(bundle: Bundle, name: str, options: EngineOptions) -> Engine:
    """One of torch's ways as an engine. Raises MissingExtra without torch, EngineError when it cannot compile."""
    with needs_extra(f"the baseline {name}", "train"):
        from wideresnet.tasks.bench.torch_baselines import TorchWay
    return TorchWay(bundle, options, last=name != EAGER, compiled=name == COMPILED)


def plain_script(bundle: Bundle, batch: int, threads: int, out: Path) -> tuple[EngineInfo, Work]:
    """The script people write; see ``torch_ways``. Raises MissingExtra without torch."""
    with needs_extra(f"the baseline {PLAIN_SCRIPT}", "train"):
        from wideresnet.tasks.bench.torch_baselines import plain_script as script
    return script(bundle, batch, threads, out)


def stock_loop(bundle: Bundle, options: EngineOptions) -> tuple[EngineInfo, Work]:
    """What OpenVINO's ``benchmark_app`` does: batch 1 in the shape, its own defaults, a queue of requests.

    Precision and streams are left to the hint unless streams are asked for, and nobody reads the answers.
    """
    model = ov.Core().read_model(bundle.graph)
    shape = model.inputs[0].partial_shape
    shape[0] = 1
    model.reshape(shape)
    threads = options.threads or available_cpus()
    settings: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper(), "INFERENCE_NUM_THREADS": threads}
    if options.streams:
        settings["NUM_STREAMS"] = options.streams
    compiled = ov.Core().compile_model(model, "CPU", settings)
    version, streams = ov.__version__.partition("-")[0], int(compiled.get_property("NUM_STREAMS"))
    threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
    info = EngineInfo(STOCK, version, "CPU", executed(compiled), threads, streams)
    if options.hint == "latency":
        return info, _one_by_one(compiled)
    queue = ov.AsyncInferQueue(compiled)

    def work(batches: Iterator[Any], done: Callable[[], None]) -> None:
        queue.set_callback(lambda _request, _data: done())
        for batch in batches:
            queue.start_async([batch], share_inputs=True)
        queue.wait_all()

    return info, work


def _one_by_one(compiled: ov.CompiledModel) -> Work:
    request = compiled.create_infer_request()

    def work(batches: Iterator[Any], done: Callable[[], None]) -> None:
        for batch in batches:
            request.infer([batch], share_inputs=True)
            done()

    return work
