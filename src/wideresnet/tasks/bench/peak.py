"""The peak of the machine: a large matrix product in each precision, in the same runtime.

Every thread computes a product of its own. Threads that share one wait for the slowest, and on a busy machine the peak
would be underestimated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from wideresnet.engines.openvino import UNPINNED, executed
from wideresnet.precision import Precision

ROWS, SIDE = 512, 2048                             # [ROWS, SIDE] times [SIDE, SIDE]: 4.3 G operations
SECONDS = 0.25                                     # a block: longer than the bursts a shared machine grants


def open_gemms(threads: int) -> dict[Precision, Callable[[], float]]:
    """Return, by precision that this CPU executes, a function that measures one block in G operations/s."""
    gemms: dict[Precision, Callable[[], float]] = {}
    for precision in ("f32", "bf16", "int8"):
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            **UNPINNED,
        }
        compiled = ov.Core().compile_model(_product(int8=precision == "int8"), "CPU", settings)
        if executed(compiled, "FullyConnected") == precision:
            gemms[precision] = _block(compiled, threads)
    return gemms


def _product(*, int8: bool) -> ov.Model:
    """Return uint8 [ROWS, SIDE] times constant weights, quantised as in an int8 graph, or in floats."""
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    x = ops.parameter([ROWS, SIDE], np.uint8)
    floats, weights = ops.convert(x, "f32"), ops.constant(values)
    if int8:
        floats, weights = _quantised(floats, 0, 255, 256), _quantised(weights, -1.27, 1.27, 255)
    product = ops.matmul(floats, weights, False, True)
    return ov.Model([_quantised(product, 0, 255, 256) if int8 else product], [x], "gemm")


def _quantised(x: ov.Node, low: float, high: float, levels: int) -> ov.Node:
    bounds = [ops.constant(np.float32(value)) for value in (low, high, low, high)]
    return ops.fake_quantize(x, *bounds, levels)


def _block(compiled: ov.CompiledModel, threads: int) -> Callable[[], float]:
    x = np.random.default_rng(1).integers(0, 256, (ROWS, SIDE), np.uint8)
    requests = [compiled.create_infer_request() for _ in range(threads)]

    def rate(request: ov.InferRequest) -> float:
        started, count = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < SECONDS:
            request.infer([x], share_inputs=True)
            count += 1
        return count * 2 * ROWS * SIDE**2 / seconds / 1e9

    def measure() -> float:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(rate, requests))

    for request in requests:                       # the first product of each packs its weights
        request.infer([x], share_inputs=True)
    return measure
