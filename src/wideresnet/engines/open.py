"""Open a graph in a runtime; the runtimes are imported here, behind their extras."""

from __future__ import annotations

from dataclasses import replace

from wideresnet.bundle import Bundle, network_of
from wideresnet.engines.adaptive import AdaptiveEngine
from wideresnet.engines.base import EngineOptions, OutputsEngine
from wideresnet.engines.cascade import CascadeEngine
from wideresnet.errors import ConfigError, check_choice, needs_extra

ENGINES = ("openvino", "onnxruntime", "pytorch")
PRECISIONS = ("f32", "bf16")
MOST_THREADS = 1024                                # a runtime starts them all, whatever the number of CPUs


def open_engine(bundle: Bundle, name: str = "openvino", options: EngineOptions | None = None) -> OutputsEngine:
    """Open the bundle's graph in the runtime ``name``, one of ``ENGINES``.

    Raises ConfigError for another name, precision or impossible threads, MissingExtra when the runtime is not
    installed, and EngineError when it cannot run the graph or the precision.
    """
    options = options or EngineOptions()
    check_precision(bundle, options.precision)
    if not (isinstance(options.threads, int) and 0 <= options.threads <= MOST_THREADS):
        problem = f"threads must be an integer from 0 (all CPUs) to {MOST_THREADS}, got {options.threads!r}"
        raise ConfigError(problem, hint="leave it out: more threads than CPUs are slower")
    check_choice("engine", name, ENGINES)
    if bundle.card.cascade:
        chosen = (replace(options, precision=member.card.arithmetic(options.precision)) for member in bundle.members)
        engines = [open_engine(member, name, own) for member, own in zip(bundle.members, chosen, strict=True)]
        return CascadeEngine(bundle.card.cascade, engines)
    if options.hint == "adaptive" and name == "openvino":
        lone, many = replace(options, hint="latency", streams=1), replace(options, hint="throughput")
        return AdaptiveEngine(open_engine(bundle, name, lone), open_engine(bundle, name, many))
    if name == "openvino":
        from wideresnet.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle.graph, options)
    if name == "onnxruntime":
        with needs_extra("the engine onnxruntime", "onnxruntime"):
            from wideresnet.engines.onnxruntime import OnnxRuntimeEngine
        return OnnxRuntimeEngine(bundle.graph, options)
    with needs_extra("the engine pytorch", "train"):
        from wideresnet.engines.pytorch import PyTorchEngine
    return PyTorchEngine(bundle.graph, options, network_of(bundle.card), bundle.card.preprocess)


def check_precision(bundle: Bundle, precision: str) -> None:
    """Raise ConfigError for an arithmetic that does not exist, or that the bundle's graph does not have."""
    if precision not in PRECISIONS:                # "did you mean 'bf16'?" would not be it, for f16
        raise ConfigError(f"no precision called {precision!r}", hint=f"known: {', '.join(PRECISIONS)}")
    if precision == "bf16" and bundle.card.precision == "int8":
        hint = "leave out the precision, or open the model that it was compiled from"
        raise ConfigError(f"{bundle.card.name} is stored in int8 and cannot run in bf16", hint)
