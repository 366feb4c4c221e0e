"""Profiles: time per layer inside the engine, and per stage from a file to its prediction."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.engines import EngineOptions
from wideresnet.engines.openvino import UNPINNED
from wideresnet.images.decode import open_image
from wideresnet.images.preprocess import preprocess
from wideresnet.logits import top_k
from wideresnet.machine import available_cpus
from wideresnet.output.answers import write_answers
from wideresnet.records import Item, LayerTime, Prediction

RUNS = 10


def profile_layers(bundle: Bundle, options: EngineOptions, batch: NDArray[np.uint8]) -> tuple[LayerTime, ...]:
    """Return the layers that OpenVINO executes for one uint8 batch [N, S, S, 3] with all threads, in its order."""
    settings = {
        "INFERENCE_PRECISION_HINT": options.precision,
        "INFERENCE_NUM_THREADS": options.threads or available_cpus(),
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": True,
        **UNPINNED,
    }
    bundle.check_single()
    request = ov.Core().compile_model(ov.Core().read_model(bundle.graph), "CPU", settings).create_infer_request()
    request.infer([batch])
    layers: dict[str, LayerTime] = {}
    for _ in range(RUNS):
        request.infer([batch])
        for info in request.profiling_info:
            if info.status == ov.ProfilingInfo.Status.EXECUTED:
                name = info.node_name.removesuffix("/WithoutBiases")
                before = layers[name].ms if name in layers else 0.0
                ms = before + info.real_time.total_seconds() * 1e3 / RUNS
                layers[name] = LayerTime(name, info.node_type, info.exec_type, ms)
    return tuple(layers.values())


def profile_stages(classifier: Classifier, items: Sequence[Item], batch: int) -> dict[str, float]:
    """Return milliseconds per image by stage; stages run one after another (the engine uses its own threads)."""
    seconds: dict[str, float] = {}
    spec, out = classifier.card.preprocess, io.StringIO()
    paths = [item.source for item in items if isinstance(item.source, Path)]

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

    for start in range(0, len(paths), batch):
        crops = []
        for path in paths[start : start + batch]:
            with stage("read"):
                data = path.read_bytes()
            with stage("decode"):
                image = open_image(data, exif="transpose", alpha=spec.alpha)
            with stage("resize and crop"):
                crops.append(preprocess(image, spec))
        with stage("stack"):
            pixels = np.stack(crops)
        with stage("engine"):
            logits = classifier.logits(pixels)
        with stage("top k"):
            answers = top_k(logits, classifier.labels, 5)
        with stage("write"):
            write_answers((Prediction("name", answer) for answer in answers), "jsonl", out)
    return {name: 1e3 * value / len(paths) for name, value in seconds.items()}
