"""The setting in which a model is fastest on this machine, kept beside the weights of the cache.

    CACHE/tuning/GRAPH-PRECISION-PIXELS-CPU-CPUS.json

Another graph, CPU or number of CPUs is another file: what was tuned elsewhere is never used here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from wideresnet.bundle import Bundle
from wideresnet.engines import EngineOptions
from wideresnet.machine import available_cpus, cpu_name
from wideresnet.output.atomic import save_text
from wideresnet.records import InferenceSettings, Tuning
from wideresnet.weights.cache import cache_folder

# Untuned: with two streams, batches of 1 to 64 were equally fast on 32-pixel and 224-pixel networks.
BATCH = 8


def find_tuning(bundle: Bundle) -> Tuning | None:
    """What ``wrn bench --tune`` found for this model on this machine; None when it never ran."""
    try:
        return Tuning(**json.loads(tuning_file(bundle).read_text("utf-8")))
    except (OSError, ValueError, TypeError):       # a file of another version is none
        return None


def throughput_options(
    bundle: Bundle, precision: Literal["f32", "bf16"], threads: int = 0
) -> tuple[EngineOptions, int]:
    """Engine options and batch for many images: as tuned on this machine, or several streams of small batches.

    ``threads`` 0 leaves them open. What was tuned holds for float32 (and int8, which asks for float32).
    """
    tuned = find_tuning(bundle) if precision == "f32" and not threads else None
    if tuned is None:
        return EngineOptions(precision, threads, "throughput"), BATCH
    return EngineOptions(precision, tuned.threads, "throughput", tuned.streams), tuned.batch


def tune_settings(
    bundle: Bundle, settings: InferenceSettings, *, many: bool = True
) -> tuple[EngineOptions, InferenceSettings]:
    """Return engine options for ``many`` images or for one, and ``settings`` with the batch size that fits them."""
    options, batch = EngineOptions(settings.precision, settings.threads), BATCH
    if many:
        options, batch = throughput_options(bundle, settings.precision, settings.threads)
    return options, replace(settings, batch_size=settings.batch_size or batch)


def save_tuning(bundle: Bundle, tuning: Tuning) -> Path:
    """Keep ``tuning`` for ``find_tuning``; the file. Raises ConfigError when it cannot be written."""
    file = tuning_file(bundle)
    save_text(file, json.dumps(asdict(tuning), indent=1) + "\n")
    return file


def tuning_file(bundle: Bundle) -> Path:
    """Where the tuning of this model on this machine is kept; it may not exist."""
    model = f"{bundle.sha256[:16]}-{bundle.card.precision}-{bundle.card.preprocess.crop}"
    cpu = re.sub(r"\W+", "-", cpu_name()).strip("-").lower()
    return cache_folder() / "tuning" / f"{model}-{cpu}-{available_cpus()}.json"
