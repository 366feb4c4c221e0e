"""Where the time goes, measured side by side in one run: ``python benchmarks/pipeline.py``.

Times decode + preprocess (one thread) and every engine that is installed, on the embedded model or on the
bundle given. All contestants take turns, round by round, so that a busy machine slows them alike; the first
round warms up and is thrown away. Prints one JSON document: medians and quartiles in pictures a second, with
the conditions. Only ratios within one document mean anything.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from wideresnet.bundle import Bundle
from wideresnet.classifier import Classifier
from wideresnet.engines import ENGINES, EngineOptions
from wideresnet.errors import MissingExtra
from wideresnet.images.decode import decode
from wideresnet.images.files import find_pictures
from wideresnet.images.preprocess import preprocess
from wideresnet.machine import available_cpus
from wideresnet.tasks.load import DEFAULT_MODEL, ModelChoice, load_bundle, open_classifier

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

Contestants = dict[str, tuple[int, Callable[[], object]]]      # name -> (pictures a call, the call)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the parts of the pipeline side by side.")
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="a bundle or a model's name")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=0, help="of the engines; 0: every CPU there is")
    options = parser.parse_args()
    bundle = load_bundle(ModelChoice(options.model))
    engines = open_engines(bundle, EngineOptions(threads=options.threads))
    contestants = {"decode + preprocess": pictures_of(bundle), **batches_of(engines, options.batch)}
    document = {
        "schema": 1,
        "unit": "pictures a second",
        "model": bundle.card.name,
        "batch": options.batch,
        "rounds": options.rounds,
        "engines": {name: asdict(classifier.engine.info) for name, classifier in engines.items()},
        "machine": machine(),
        "results": take_turns(contestants, options.rounds),
    }
    print(json.dumps(document, indent=2))


def open_engines(bundle: Bundle, options: EngineOptions) -> dict[str, Classifier]:
    """The bundle in every engine that is installed."""
    opened = {}
    for name in ENGINES:
        try:
            opened[name] = open_classifier(bundle, name, options)
        except MissingExtra:
            continue
    return opened


def pictures_of(bundle: Bundle) -> tuple[int, Callable[[], object]]:
    """Decoding and preprocessing the example photographs from memory, one after the other."""
    files = [path.read_bytes() for path in find_pictures([EXAMPLES])]
    return len(files), lambda: [preprocess(decode(data), bundle.card.preprocess) for data in files]


def batches_of(engines: dict[str, Classifier], batch: int) -> Contestants:
    """One batch of random pixels through each engine."""
    contestants: Contestants = {}
    for name, classifier in engines.items():
        side = classifier.card.preprocess.crop
        pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
        contestants[name] = (batch, lambda run=classifier.logits, pixels=pixels: run(pixels))
    return contestants


def take_turns(contestants: Contestants, rounds: int) -> dict[str, dict[str, float]]:
    """Every contestant once a round, beginning with another one each time."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            pictures, call = contestants[name]
            started = time.perf_counter()
            call()
            if turn:
                speeds[name].append(pictures / (time.perf_counter() - started))
    return {name: summary(values) for name, values in speeds.items()}


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles, to a tenth."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": round(median(values), 1), "quartile1": round(low, 1), "quartile3": round(high, 1)}


def machine() -> dict[str, object]:
    """What the figures depend on besides the code."""
    versions = {name: metadata.version(name) for name in ("wideresnet", "numpy", "pillow")}
    return {"cpu": cpu_name(), "cpus": available_cpus(), "python": platform.python_version(), **versions}


def cpu_name() -> str:
    """The CPU's own name where Linux tells it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
