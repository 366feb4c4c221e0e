"""The fastest engine settings of a model on this machine, stored in the cache folder.

    CACHE/tuning/GRAPH-PRECISION-PIXELS-CPU-CPUS.json

Another graph, CPU or number of CPUs has another file, so that settings of another machine are never used.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from wideresnet.bundle import Bundle
from wideresnet.bundle.files import GRAPH
from wideresnet.engines import EngineOptions
from wideresnet.engines.open import check_precision
from wideresnet.machine import available_cpus, cpu_name
from wideresnet.output.atomic import save_text
from wideresnet.records import InferenceSettings, Tuning
from wideresnet.weights.cache import cache_folder

# Untuned: with two streams, batches of 1 to 64 were equally fast on 32-pixel and 224-pixel networks.
BATCH = 8


def find_tuning(bundle: Bundle) -> Tuning | None:
    """Return the result of ``wrn bench --tune`` for this model and machine; None if there is none."""
    try:
        return Tuning(**json.loads(tuning_file(bundle).read_text("utf-8")))
    except (OSError, ValueError, TypeError):       # or a file of another version
        return None


def throughput_options(
    bundle: Bundle, precision: Literal["f32", "bf16"], threads: int = 0
) -> tuple[EngineOptions, int]:
    """Return engine options and batch size for many images: the tuned ones, or several streams of small batches.

    ``threads`` 0 leaves their number to the tuning. Tunings are for float32 (and int8, which requests float32).
    """
    tuned = find_tuning(bundle) if precision == "f32" and not threads else None
    if tuned is None:
        return EngineOptions(precision, threads, "throughput"), BATCH
    return EngineOptions(precision, tuned.threads, "throughput", tuned.streams), tuned.batch


def tune_settings(
    bundle: Bundle, settings: InferenceSettings, *, many: bool = True
) -> tuple[EngineOptions, InferenceSettings]:
    """Return engine options for ``many`` images or for one, and ``settings`` with the batch size that fits them."""
    check_precision(bundle, settings.precision)
    options, batch = EngineOptions(settings.precision, settings.threads), BATCH
    if many:
        options, batch = throughput_options(bundle, settings.precision, settings.threads)
    return options, replace(settings, batch_size=settings.batch_size or batch)


def save_tuning(bundle: Bundle, tuning: Tuning) -> Path:
    """Store ``tuning`` for ``find_tuning`` and return the file. Raises ConfigError if it cannot be written."""
    file = tuning_file(bundle)
    save_text(file, json.dumps(asdict(tuning), indent=1) + "\n")
    return file


def tuning_file(bundle: Bundle) -> Path:
    """Return the tuning file of this model on this machine; it may not exist.

    A model derived in memory is found by the hash of the bundle that it was made from, its precision and its pixels.
    """
    card = bundle.card
    # ``read_bundle`` checked the card's hash; hashing a graph of 275 MB again would delay each start.
    graph = card.files.get(GRAPH) or bundle.sha256
    model = f"{graph[:16]}-{card.precision}-{card.preprocess.crop}"
    cpu = re.sub(r"\W+", "-", cpu_name()).strip("-").lower()
    return cache_folder() / "tuning" / f"{model}-{cpu}-{available_cpus()}.json"
