"""Measurements in a fresh process: the time of a cold start, and the memory of one candidate.

    python -m wideresnet.tasks.bench.memory_probe JOB RESULT

reads a job and writes a result, both JSON. No runtime is imported before the clock starts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wideresnet.errors import EngineError
from wideresnet.machine import peak_rss_mb

if TYPE_CHECKING:
    from wideresnet.tasks.bench.options import Entry

BATCHES = 6                                        # enough to fill every stream twice


def memory_mb(entry: Entry, bundle: Path, images: Sequence[str]) -> float:
    """Return the peak memory of a process that runs a few batches of one candidate, MiB. Raises EngineError."""
    return float(_run({"entry": asdict(entry), "bundle": str(bundle), "images": images})["rss_mb"])


@dataclass(frozen=True)
class Start:
    """One cold start: milliseconds of its stages, and of the process from start to exit."""

    stages_ms: dict[str, float]
    total_ms: float
    rss_mb: float
    info: dict[str, Any]                           # fields of an EngineInfo; naming it would import numpy


def cold_start(entry: Entry, bundle: Path, images: Sequence[str], cache: Path | None) -> Start:
    """Start a process that classifies one image; ``cache``: folder for compiled models. Raises EngineError."""
    job = {"entry": asdict(entry), "bundle": str(bundle), "images": images, "start": True}
    result = _run({**job, "cache": str(cache) if cache else None})
    return Start(result["stages"], result["total"], result["rss_mb"], result["info"])


def _run(job: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        files = Path(name, "job.json"), Path(name, "result.json")
        files[0].write_text(json.dumps(job), "utf-8")
        started = time.perf_counter()
        command = [sys.executable, "-m", __spec__.name, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        total = 1e3 * (time.perf_counter() - started)
        if done.returncode:
            last = (done.stderr.strip() or "no error message").splitlines()[-1]
            raise EngineError(f"a fresh process with {job['entry']['engine']} failed: {last}")
        return {**json.loads(files[1].read_text("utf-8")), "total": total}


def _main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    result = _start(job) if job.get("start") else _fill(job)
    Path(sys.argv[2]).write_text(json.dumps({**result, "rss_mb": peak_rss_mb()}), "utf-8")


def _start(job: dict[str, Any]) -> dict[str, Any]:
    """Do what ``wrn classify IMAGE`` does, stage by stage."""
    times = [time.perf_counter()]
    from importlib import import_module

    from wideresnet.tasks.load.load import ModelChoice, load_bundle, open_classifier

    import_module(f"wideresnet.engines.{job['entry']['engine']}")
    times.append(time.perf_counter())

    from wideresnet.tasks.bench.options import Entry, options_of

    cache = Path(job["cache"]) if job["cache"] else None
    entry = Entry(**job["entry"])
    bundle = load_bundle(ModelChoice(job["bundle"]))
    classifier = open_classifier(bundle, entry.engine, options_of(entry, cache))
    times.append(time.perf_counter())

    import numpy as np

    side = bundle.card.preprocess.crop
    classifier.classify([*job["images"], np.zeros((side, side, 3), np.uint8)][0])
    times.append(time.perf_counter())
    stages = zip(("import", "open", "first answer"), times, times[1:], strict=False)
    stages_ms = {stage: 1e3 * (after - before) for stage, before, after in stages}
    return {"stages": stages_ms, "info": asdict(classifier.engine.info)}


def _fill(job: dict[str, Any]) -> dict[str, Any]:
    from wideresnet.bundle import read_bundle
    from wideresnet.records import Item
    from wideresnet.tasks.bench.candidates import open_candidate
    from wideresnet.tasks.bench.interleave import Allowance, take_turn
    from wideresnet.tasks.bench.options import Entry

    entry = Entry(**job["entry"])
    items = [Item(path, Path(path)) for path in job["images"]]
    candidate = open_candidate(entry, read_bundle(Path(job["bundle"])), items, Path(sys.argv[2] + ".answers"))
    count = BATCHES * (entry.batch if entry.measurement == "end-to-end" else 1)
    take_turn(candidate.work, candidate.inputs(), candidate.size, Allowance(count), time.perf_counter)
    return {}


if __name__ == "__main__":
    _main()
